"""`nephra run`: one operation on files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from nephra_cli import screen
from nephra_cli.connection import (
    Connection,
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

#: Members that name a file to be written, not one to be read.
_WRITTEN = ("output_path",)
_LONGEST = 80


def run(
    operation: Annotated[str, typer.Argument(help="For example inference/tumor.")],
    members: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MEMBER=VALUE]...",
            help="Members of the request, for example image_path=ct.nii.gz; JSON values are "
            "understood. Files of this machine are copied into the data root.",
        ),
    ] = None,
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
    """Run one operation and print its answer. Ctrl-C asks whether to cancel it."""
    request = parse_members(members or [])
    with connect(Target(data, state, url, token_file)) as gateway:
        for member, value in request.items():
            if member.endswith("_path") and member not in _WRITTEN:
                request[member] = _local(value, gateway)
        answer = carry_out(gateway, operation, request)
        brought = gateway.give(files_of(answer), out) if out is not None else []
    if as_json:
        screen.show_json(answer)
    else:
        show(answer, {str(p) for p in brought})


def parse_members(members: list[str]) -> dict[str, Any]:
    """`name=value` pairs as a request; a value that is JSON is taken as such.

    Raises:
        RequestInvalid: not a pair, or one name twice.
    """
    request: dict[str, Any] = {}
    for pair in members:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise RequestInvalid(
                f"'{pair}' is not of the form MEMBER=VALUE.", "For example image_path=ct.nii.gz."
            )
        if name in request:
            raise RequestInvalid(
                f"'{name}' is given twice.", f'Give a list: {name}=\'["a", "b"]\'.'
            )
        try:
            request[name] = json.loads(value)
        except ValueError:
            request[name] = value
    return request


def _local(value: Any, gateway: Connection) -> Any:
    if isinstance(value, str):
        return gateway.take(value)
    if isinstance(value, list):
        return [_local(v, gateway) for v in value]
    return value


def show(answer: dict[str, Any], brought: set[str]) -> None:
    """An answer as tables, with the files that were brought out."""
    for warning in answer.get("warnings", []):
        screen.say(f"warning: {warning}")
    rows: list[list[Any]] = [
        [m, v] for m, v in answer.items() if m.endswith("_path") and v is not None
    ]
    rows += [["report", _figure(k, v)] for k, v in answer.get("report", {}).items()]
    rows += [["brought", path] for path in sorted(brought)]
    screen.show_table(answer.get("operation", "answer"), ["", ""], rows)
    volumes = answer.get("volumes_ml") or {}
    if volumes:
        screen.show_table("volumes", ["structure", "mL"], screen.volume_rows(volumes).values())


def _figure(name: str, value: Any) -> str:
    """A line of the report; what would not fit into one is for --json."""
    if isinstance(value, (dict, list)) and len(json.dumps(value)) > _LONGEST:
        return f"{name}: {len(value)} entries, --json shows them"
    return f"{name}: {value}"
