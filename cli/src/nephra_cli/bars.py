"""Work in progress as people see it: a bar on a terminal, lines in a log or a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from nephra_contract.errors import NephraError, Unavailable
from nephra_contract.messages import Event


class Display(Protocol):
    """Shows how far work is."""

    def show(self, event: Event) -> None:
        """Show an event."""
        ...

    def away(self, error: NephraError) -> None:
        """Show that the gateway is away, and is asked again."""
        ...


def follow(
    events: Iterable[Event], seen: Callable[[Event], None] = lambda _: None
) -> dict[str, Any]:
    """Show events until the result is there.

    Args:
        events: as a client yields them.
        seen: called with each of them.

    Returns:
        The result.

    Raises:
        Unavailable: the events ended without one.
    """
    with display() as shown:
        return result_of(events, shown, seen)


def result_of(
    events: Iterable[Event], shown: Display, seen: Callable[[Event], None] = lambda _: None
) -> dict[str, Any]:
    """The result in events, each of which is shown; see `follow`."""
    result: dict[str, Any] | None = None
    for event in events:
        seen(event)
        shown.show(event)
        if event.result is not None:
            result = event.result
    if result is None:
        raise Unavailable("No result came.", "Look into the log, then try again.")
    return result


@contextmanager
def display() -> Iterator[Display]:
    """What suits standard error."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[left]}"),
        TimeElapsedColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True) as bar:
        yield _Bar(bar)


class _Bar:
    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("waiting", total=1.0, left="")

    def show(self, event: Event) -> None:
        """Move the bar; what is ready stands above it."""
        if event.event == "artifact":
            self._bar.console.print(f"  ready: {event.stage}", markup=False, highlight=False)
        elif event.event == "progress":
            left = "" if event.seconds_left is None else f"{duration(event.seconds_left)} left"
            said = _stage(event) or None
            self._bar.update(self._task, description=said, completed=event.fraction, left=left)

    def away(self, error: NephraError) -> None:
        """Say so where the stage stands."""
        del error
        self._bar.update(self._task, description="the gateway is away, asking again", left="")


class _Lines:
    """One line when a stage is first heard of.

    Steps that run side by side report in turn; their stages are not repeated.
    """

    def __init__(self) -> None:
        self._stages: set[str] = set()
        self._started = time.monotonic()
        self._away = False

    def show(self, event: Event) -> None:
        """One line for a new stage."""
        self._away = False
        stage = _stage(event)
        if event.event == "progress" and stage and stage not in self._stages:
            self._stages.add(stage)
            done = "" if event.fraction is None else f"{event.fraction:.0%}"
            self._say(f"{done:>4}  {stage}")

    def away(self, error: NephraError) -> None:
        """One line, however often it is asked."""
        if not self._away:
            self._say(f"      {error.detail} Asking again.")
        self._away = True

    def _say(self, text: str) -> None:
        typer.echo(f"  {time.monotonic() - self._started:6.1f} s  {text}", err=True)


def duration(seconds: float) -> str:
    """About how long, as one says it: `40 s`, `3 min`, `1 h 05 min`."""
    if seconds < 90:
        return f"{max(round(seconds / 5) * 5, 5)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _stage(event: Event) -> str:
    if not event.position:
        return event.stage
    return f"{event.stage or 'waiting'} ({event.position} before it)"
