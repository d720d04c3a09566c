"""A ticket followed to its end, and what Ctrl-C means on the way."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import typer

from nephra_cli import screen
from nephra_cli.bars import display, result_of
from nephra_cli.client import Client
from nephra_cli.connection import Connection
from nephra_cli.events import Events
from nephra_contract.errors import NephraError, Unavailable

#: The exit status of what was interrupted.
INTERRUPTED = 130


class Told(KeyboardInterrupt):
    """Being told to end by a signal that nobody has typed."""


def carry_out(gateway: Connection, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Ask for work, follow it, and give its answer.

    Ctrl-C asks whether to cancel it; where nobody can be asked, or the gateway ends with this
    command, it is cancelled.

    Raises:
        NephraError: why there is no answer.
        KeyboardInterrupt: it was cancelled.
        typer.Exit: the user has left it to itself.
    """
    ticket = gateway.client.submit(operation, request)
    if ticket.result is not None:
        return ticket.result

    def interrupted(how: KeyboardInterrupt) -> None:
        _decide(gateway, ticket.ticket, how)

    return watch(gateway.client, ticket.ticket, interrupted)


def watch(
    client: Client, ticket: str, interrupted: Callable[[KeyboardInterrupt], None]
) -> dict[str, Any]:
    """Show a ticket's events until its result is there.

    Args:
        client: of its gateway.
        ticket: its number.
        interrupted: called at Ctrl-C; when it returns, watching goes on.

    Raises:
        NephraError: why there is no result.
    """
    # A loop that was left goes on where it was, since `events` knows its last number.
    events: Events | None = None
    while True:
        try:
            with display() as shown:
                after = 0 if events is None else events.last
                events = client.events(ticket, after, shown.away)
                return result_of(events, shown)
        except KeyboardInterrupt as how:
            interrupted(how)


def _decide(gateway: Connection, ticket: str, how: KeyboardInterrupt) -> None:
    """Ask what to do with a ticket; returns if it is to be followed further.

    Raises:
        KeyboardInterrupt: it is cancelled.
        typer.Exit: it is left to itself.
    """
    answer = "y"
    nobody = isinstance(how, Told) or not (sys.stdin.isatty() and sys.stderr.isatty())
    if not gateway.temporary and not nobody:
        answer = _ask("Cancel it? [y]es; [n]o, leave it running; Enter: watch it further ")
    if answer == "y":
        _cancel(gateway.client, ticket)
        raise KeyboardInterrupt
    if answer == "n":
        leave(ticket)


def leave(ticket: str) -> None:
    """Say how a ticket is found again, and end.

    Raises:
        typer.Exit: always.
    """
    screen.say(f"It goes on: nephra watch {ticket}")
    raise typer.Exit(INTERRUPTED)


def _ask(question: str) -> str:
    """`y`, `n` or nothing; a second Ctrl-C, or the end of the input, is `n`."""
    typer.echo(f"\n{question}", nl=False, err=True)
    try:
        line = sys.stdin.readline()
    except KeyboardInterrupt:
        line = ""
    if not line.endswith("\n"):
        typer.echo("", err=True)
        return "n"
    return line.strip().lower()[:1]


def _cancel(client: Client, ticket: str) -> None:
    """Cancel a ticket and wait until it has ended; one that ended meanwhile is as good."""
    try:
        if not client.cancel(ticket).has_ended:
            client.wait(ticket)
    except Unavailable as error:
        screen.say(f"nephra: the ticket {ticket} could not be cancelled: {error.detail}")
    except NephraError as error:
        if error.code != "ticket_ended":
            raise
