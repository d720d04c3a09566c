"""What the user sees: tables on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nephra_contract.labels import numbers, table

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


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.2f}"
    return str(value)
