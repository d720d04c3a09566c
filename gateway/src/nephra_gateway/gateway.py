"""What the routes share: one object for each application."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from fastapi import Request

from nephra_gateway.cases import Cases
from nephra_gateway.figures import Figures
from nephra_gateway.predictors import Predictors
from nephra_gateway.settings import GatewaySettings
from nephra_gateway.storage import Storage
from nephra_gateway.tickets import Tickets


@dataclass(frozen=True)
class Gateway:
    """The parts of a gateway.

    Args:
        settings: as read at start.
        predictors: who does the work.
        tickets: keeps results whole.
        cases: the whole way.
        storage: the data root's state of health.
        figures: what is counted.
        ending: set when requests that still run are to be cancelled.
    """

    settings: GatewaySettings
    predictors: Predictors
    tickets: Tickets
    cases: Cases
    storage: Storage
    figures: Figures
    ending: asyncio.Event = field(default_factory=asyncio.Event)


def gateway_of(request: Request) -> Gateway:
    """The gateway that a request came to."""
    found: Gateway = request.app.state.gateway
    return found
