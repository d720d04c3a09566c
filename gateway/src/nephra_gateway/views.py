"""A ticket's row as its caller sees it."""

from __future__ import annotations

import datetime
from typing import Any

from nephra_gateway.eta import Estimate
from nephra_gateway.messages import StepView, TicketView
from nephra_gateway.store.tickets import Ticket

_STEP = frozenset(StepView.model_fields) - {"name", "operation"}


def view(ticket: Ticket, position: int | None = None, *, whole: bool = True) -> TicketView:
    """What is shown of a ticket.

    Args:
        ticket: its row.
        position: how many come before it, if it is queued.
        whole: with its result; lists are without.
    """
    return TicketView(
        ticket=ticket.id,
        operation=ticket.operation,
        state=ticket.state,
        stage="cancelling" if ticket.cancelling and ticket.state == "running" else ticket.stage,
        fraction=ticket.fraction,
        seconds_left=_seconds_left(ticket),
        position=position,
        priority=ticket.priority,
        owner=ticket.owner,
        attempts=ticket.attempts,
        cached=ticket.cached,
        created=moment(ticket.created_s),
        started=None if ticket.started_s is None else moment(ticket.started_s),
        ended=None if ticket.ended_s is None else moment(ticket.ended_s),
        request=dict(ticket.request),
        steps=[_step(name, step) for name, step in ticket.steps.items()],
        result=ticket.result if whole else None,
        problem=ticket.problem,
    )


def moment(time_s: float) -> str:
    """ISO 8601 in UTC, of seconds since 1970."""
    when = datetime.datetime.fromtimestamp(time_s, datetime.UTC)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _step(name: str, step: dict[str, Any]) -> StepView:
    said = {member: value for member, value in step.items() if member in _STEP}
    said.setdefault("state", "waiting")
    return StepView(name=name, operation=step.get("operation", ""), **said)


def _seconds_left(ticket: Ticket) -> float | None:
    """From what is done and how long that took; events, written while it runs, know more."""
    if ticket.state != "running" or ticket.started_s is None:
        return None
    started_s, updated_s = ticket.started_s, ticket.updated_s
    times = iter((started_s, updated_s))
    return Estimate(None, clock=lambda: next(times)).left_s(ticket.fraction)
