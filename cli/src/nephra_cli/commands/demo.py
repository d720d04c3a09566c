"""`nephra demo`: a phantom's three phases to one scene."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[Path, typer.Option(help="Folder for what it makes.")] = Path("demo-out"),
    seed: Annotated[int, typer.Option(min=0, help="Which synthetic patient.")] = 7,
) -> None:
    """Show the whole way on a synthetic patient whose anatomy is known."""
