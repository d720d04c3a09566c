"""`nephra tickets`, `watch` and `cancel`: work that was asked for, now or earlier."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nephra_cli import following, screen
from nephra_cli.bars import duration
from nephra_cli.client import Client
from nephra_cli.commands.run import show
from nephra_cli.connection import (
    DataOption,
    JsonOption,
    StateOption,
    Target,
    TokenFileOption,
    UrlOption,
    connect,
)
from nephra_cli.tickets import State, Ticket
from nephra_cli.transfer import files_of
from nephra_contract.errors import RequestInvalid

_PAGE = 20
_LARGE_PAGE = 200
_STATES: tuple[State, ...] = ("queued", "running", "succeeded", "failed", "cancelled")

TicketArgument = Annotated[str, typer.Argument(metavar="TICKET", help="Its number.")]


def tickets(
    state_of: Annotated[
        list[str] | None,
        typer.Option(
            "--state",
            help=f"Only those that are {', '.join(_STATES)}; may be given again.",
            show_default=False,
        ),
    ] = None,
    operation: Annotated[
        str | None, typer.Option(help="Only those of this operation.", show_default=False)
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help=f"All of them, not the newest {_PAGE}.")
    ] = False,
    data: DataOption = None,
    url: UrlOption = None,
    token_file: TokenFileOption = None,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state-folder", envvar="NEPHRA_STATE", help="As --state of the other commands."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List what was asked for, the newest first."""
    wanted = [_state(word) for word in state_of or ()]
    with connect(Target(data, state, url, token_file), start=False) as gateway:
        found = _found(gateway.client, wanted, operation, everything)
    if as_json:
        screen.show_json([t.model_dump(mode="json", exclude_none=True) for t in found])
        return
    columns = ["ticket", "operation", "state", "done", "created", "what"]
    screen.show_table("tickets", columns, [_row(t) for t in found])


def watch(
    ticket: TicketArgument,
    out: Annotated[
        Path | None,
        typer.Option(help="Bring the result's files into this folder.", show_default=False),
    ] = None,
    data: DataOption = None,
    state: StateOption = None,
    url: UrlOption = None,
    token_file: TokenFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Follow a ticket to its end and print its answer. Ctrl-C leaves it running."""

    def interrupted(_: KeyboardInterrupt) -> None:
        following.leave(ticket)

    with connect(Target(data, state, url, token_file), start=False) as gateway:
        answer = following.watch(gateway.client, ticket, interrupted)
        brought = gateway.give(files_of(answer), out) if out is not None else []
    if as_json:
        screen.show_json(answer)
    else:
        show(answer, {str(p) for p in brought})


def cancel(
    ticket: TicketArgument,
    data: DataOption = None,
    state: StateOption = None,
    url: UrlOption = None,
    token_file: TokenFileOption = None,
) -> None:
    """Cancel a ticket and wait until its work has stopped."""
    with connect(Target(data, state, url, token_file), start=False) as gateway:
        found = gateway.client.cancel(ticket)
        if not found.has_ended:
            found = gateway.client.wait(ticket)
    screen.say(f"The ticket {ticket} is {found.state}.")
    if found.state != "cancelled":  # it was quicker
        raise typer.Exit(1)


def _found(
    client: Client, states: list[State], operation: str | None, everything: bool
) -> list[Ticket]:
    page = client.tickets(states, operation, _LARGE_PAGE if everything else _PAGE)
    found = list(page.tickets)
    while everything and page.next is not None:
        page = client.tickets(states, operation, _LARGE_PAGE, page.next)
        found += page.tickets
    return found


def _state(word: str) -> State:
    for known in _STATES:
        if word == known:
            return known
    raise RequestInvalid(f"'{word}' is no state of a ticket.", f"There are {', '.join(_STATES)}.")


def _row(ticket: Ticket) -> list[Any]:
    created = ticket.created.replace("T", " ")[:19]
    done = f"{ticket.fraction:.0%}"
    return [ticket.ticket, ticket.operation, ticket.state, done, created, _what(ticket)]


def _what(ticket: Ticket) -> str:
    """What one wants to know of a ticket in its state."""
    if ticket.problem is not None:
        return str(ticket.problem.get("detail", ""))
    if ticket.position:
        return f"{ticket.position} before it"
    if ticket.cached:
        return "from the cache"
    if ticket.seconds_left is not None and not ticket.has_ended:
        return f"{ticket.stage}, {duration(ticket.seconds_left)} left"
    return "" if ticket.has_ended else ticket.stage
