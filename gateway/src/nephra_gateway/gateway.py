"""What the routes share: one object for each application."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from nephra_gateway.cases import Cases
from nephra_gateway.predictors import Predictors
from nephra_gateway.settings import GatewaySettings
from nephra_gateway.tickets import Tickets


@dataclass(frozen=True)
class Gateway:
    """The parts of a gateway.

    Args:
        settings: as read at start.
        predictors: who does the work.
        tickets: keeps results whole.
        cases: the whole way.
    """

    settings: GatewaySettings
    predictors: Predictors
    tickets: Tickets
    cases: Cases


def gateway_of(request: Request) -> Gateway:
    """The gateway that a request came to."""
    found: Gateway = request.app.state.gateway
    return found
