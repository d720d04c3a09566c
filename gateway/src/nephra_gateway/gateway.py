"""What the routes share: one object for each application."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import Request

from nephra_gateway.board import Board
from nephra_gateway.cases import Cases
from nephra_gateway.ending import Ending
from nephra_gateway.figures import Figures
from nephra_gateway.janitor import Janitor
from nephra_gateway.predictors import Predictors
from nephra_gateway.settings import GatewaySettings
from nephra_gateway.stages import Tools
from nephra_gateway.storage import Storage
from nephra_gateway.store.database import Database
from nephra_gateway.submissions import Submissions
from nephra_gateway.webhooks import Webhooks
from nephra_gateway.worker import Worker


@dataclass(frozen=True)
class Gateway:
    """The parts of a gateway.

    Args:
        settings: as read at start.
        database: of tickets and of the cache.
        predictors: who does the work.
        tools: what all tickets share.
        cases: the whole way.
        board: news of tickets.
        submissions: makes tickets.
        worker: works on them.
        storage: the data root's state of health.
        figures: what is counted.
        ending: when nothing is begun any more, and callers that still wait are sent away.
        janitor: removes what is not kept.
        webhooks: tells who wanted to be told.
    """

    settings: GatewaySettings
    database: Database
    predictors: Predictors
    tools: Tools
    cases: Cases
    board: Board
    submissions: Submissions
    worker: Worker
    storage: Storage
    figures: Figures
    ending: Ending
    janitor: Janitor
    webhooks: Webhooks


def gateway_of(request: Request) -> Gateway:
    """The gateway that a request came to."""
    found: Gateway = request.app.state.gateway
    return found
