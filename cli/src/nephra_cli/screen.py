"""What the user sees: tables on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from nephra_contract.errors import Unavailable
from nephra_contract.labels import numbers, table
from nephra_contract.messages import Event

#: Width of tables that no terminal bounds, so that pipes get whole lines.
_PIPE_COLUMNS = 160


def say(sentence: str) -> None:
    """One line on standard error."""
    typer.echo(sentence, err=True)


def show_json(content: Any) -> None:
    """JSON on standard output."""
    typer.echo(json.dumps(content, indent=2))


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table on standard output; numbers stand to the right."""
    rows = [list(row) for row in rows]
    grid = Table(title=title, title_justify="left", header_style="bold")
    for index, column in enumerate(columns):
        numeric = any(isinstance(row[index], (int, float)) for row in rows)
        grid.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(v if isinstance(v, Text) else _cell(v) for v in row))
    width = None if sys.stdout.isatty() else _PIPE_COLUMNS
    Console(width=width).print(grid)


def swatch(name: str) -> Text:
    """A structure's name after a spot of its colour."""
    number = numbers().get(name)
    if number is None:
        return Text(name)
    red, green, blue = (round(255 * c) for c in table()[number].rgba[:3])
    return Text.assemble(("■ ", f"rgb({red},{green},{blue})"), name)


def volume_rows(volumes_ml: Mapping[str, float]) -> dict[str, list[Any]]:
    """By structure, in the order of the table: a row of its name and volume."""
    order = numbers()
    names = sorted(volumes_ml, key=lambda n: order.get(n, 10_000))
    return {n: [swatch(n), round(float(volumes_ml[n]), 2)] for n in names}


def follow(
    events: Iterable[Event], seen: Callable[[Event], None] = lambda _: None
) -> dict[str, Any]:
    """Show events as a progress bar until the result is there.

    Args:
        events: as a client yields them.
        seen: called with each of them.

    Returns:
        The result.

    Raises:
        Unavailable: the events ended without one.
    """
    if not sys.stderr.isatty():
        return _drain(events, seen, _StageLines())
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    console = Console(stderr=True)
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task("waiting", total=1.0)

        def show(stage: str, fraction: float | None) -> None:
            bar.update(task, description=stage or None, completed=fraction)

        return _drain(events, seen, show)


def _drain(
    events: Iterable[Event],
    seen: Callable[[Event], None],
    show: Callable[[str, float | None], None],
) -> dict[str, Any]:
    result: dict[str, Any] | None = None
    for event in events:
        seen(event)
        if event.event == "progress":
            show(event.stage, event.fraction)
        if event.result is not None:
            result = event.result
    if result is None:
        raise Unavailable("No result came.", "Look into the log, then try again.")
    return result


class _StageLines:
    """Progress for a log or a pipe: one line when a stage is first heard of.

    Steps that run side by side report in turn; their stages are not repeated.
    """

    def __init__(self) -> None:
        self._stages: set[str] = set()
        self._started = time.monotonic()

    def __call__(self, stage: str, fraction: float | None) -> None:
        if stage and stage not in self._stages:
            self._stages.add(stage)
            done = "" if fraction is None else f"{fraction:.0%}"
            say(f"  {time.monotonic() - self._started:6.1f} s  {done:>4}  {stage}")


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.2f}"
    return str(value)
