"""`nephra case`: from a patient's phases to a scene."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nephra_cli import screen
from nephra_cli.client import case_request
from nephra_cli.connection import (
    DataOption,
    JsonOption,
    StateOption,
    Target,
    TokenFileOption,
    UrlOption,
    connect,
)
from nephra_cli.following import carry_out
from nephra_cli.transfer import files_of
from nephra_contract.errors import RequestInvalid

PhaseOption = Annotated[str | None, typer.Option(metavar="FILE", show_default=False)]


def case(
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    arterial: PhaseOption = None,
    portal: PhaseOption = None,
    delayed: PhaseOption = None,
    structures: Annotated[
        str | None,
        typer.Option(help="What is wanted, with commas: tumor,artery.", show_default="all"),
    ] = None,
    data: DataOption = None,
    state: StateOption = None,
    url: UrlOption = None,
    token_file: TokenFileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Turn a patient's CT phases into masks and one named 3D scene.

    Ctrl-C asks whether to cancel it.
    """
    given = {"A": arterial, "P": portal, "D": delayed}
    phases = {phase: path for phase, path in given.items() if path is not None}
    if not phases:
        raise RequestInvalid(
            "No phase was given.", "Give at least one of --arterial, --portal, --delayed."
        )
    wanted = None if structures is None else [s.strip() for s in structures.split(",") if s.strip()]
    with connect(Target(data, state, url, token_file)) as gateway:
        named = {phase: gateway.take(path) for phase, path in phases.items()}
        answer = carry_out(gateway, "cases", case_request(named, wanted))
        brought = gateway.give(files_of(answer), out)
    if as_json:
        screen.show_json({**answer, "files": [str(p) for p in brought]})
        return
    _show(answer, brought, out)


def _show(answer: dict[str, Any], brought: list[Path], out: Path) -> None:
    for warning in answer.get("warnings", []):
        screen.say(f"warning: {warning}")
    rows = screen.volume_rows(answer.get("volumes_ml", {})).values()
    screen.show_table("structures", ["structure", "volume mL"], rows)
    typer.echo(f"{out}: {', '.join(p.name for p in brought)}")
