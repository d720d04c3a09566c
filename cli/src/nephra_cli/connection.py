"""Which gateway a command talks to, and with what token."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from nephra_cli import screen, state
from nephra_cli.client import Client
from nephra_cli.services import services
from nephra_cli.state import Home, Running
from nephra_contract.errors import FileUnreadable, RequestInvalid

DEFAULT_DATA = Path("data")

DataOption = Annotated[
    Path | None,
    typer.Option("--data", envvar="NEPHRA_DATA", help="The data root.", show_default=False),
]
StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state",
        envvar="NEPHRA_STATE",
        help="Folder for token, lock and log; by default in the user's state folder.",
        show_default=False,
    ),
]
UrlOption = Annotated[
    str | None,
    typer.Option("--url", envvar="NEPHRA_URL", help="A gateway elsewhere.", show_default=False),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file",
        envvar="NEPHRA_TOKEN_FILE",
        help="File with the bearer token; NEPHRA_TOKEN gives the token itself.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@dataclass(frozen=True)
class Target:
    """What the user said about the gateway; all may be left out."""

    data: Path | None = None
    state: Path | None = None
    url: str | None = None
    token_file: Path | None = None


@dataclass(frozen=True)
class Connection:
    """A gateway to talk to.

    Args:
        client: with address and token.
        data: its data root, if that is a folder of this machine.
    """

    client: Client
    data: Path | None


@contextmanager
def connect(target: Target) -> Iterator[Connection]:
    """Find the gateway: the one named, else the one that is up, else one for this command.

    Raises:
        RequestInvalid: several are up and none was named.
    """
    if target.url is not None:
        with Client(target.url, _token(target.token_file)) as client:
            yield Connection(client, target.data or _data_of(target.url, target.state))
        return
    running = find(target.data, target.state)
    if running is not None:
        token = _token(target.token_file, Path(running.token_file))
        with Client(running.url, token) as client:
            yield Connection(client, Path(running.data))
        return
    data = target.data or DEFAULT_DATA
    screen.say(f"No nephra is up: starting one on {data} for this command.")
    with (
        services(data, state=target.state, temporary=True) as up,
        Client(up.running.url, up.token) as client,
    ):
        yield Connection(client, Path(up.running.data))


def find(data: Path | None, base: Path | None) -> Running | None:
    """The nephra that is up on `data`, or the only one that is up at all.

    Raises:
        RequestInvalid: there are several.
    """
    if data is not None:
        found = Home.of(data, base).running()
        return None if found is None or found.temporary else found
    up = state.all_running(base)
    if len(up) > 1:
        raise RequestInvalid(
            f"{len(up)} nephras are up: {', '.join(r.data for r in up)}.",
            "Say which one with --data.",
        )
    return up[0] if up else None


def _data_of(url: str, base: Path | None) -> Path | None:
    for running in state.all_running(base):
        if running.url == url.rstrip("/"):
            return Path(running.data)
    return None


def _token(given: Path | None, otherwise: Path | None = None) -> str | None:
    direct = os.environ.get("NEPHRA_TOKEN")
    if given is None and direct:
        return direct.strip()
    path = given or otherwise
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise FileUnreadable(
            f"The token file {path} cannot be read.", "Mend --token-file, or set NEPHRA_TOKEN."
        ) from error
