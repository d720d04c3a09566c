"""Which gateway a command talks to, and with what token."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from nephra_cli import screen, state
from nephra_cli.client import Client
from nephra_cli.services import services
from nephra_cli.state import Home, Running
from nephra_cli.transfer import bring_in, bring_out, fetch_out, send_in
from nephra_cli.transport import Token
from nephra_contract.errors import FileUnreadable, RequestInvalid, Unavailable

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
        temporary: whether it ends with this command.
    """

    client: Client
    data: Path | None
    temporary: bool = False

    def take(self, given: str) -> str:
        """The name in the data root of a file that the user named; brought there if need be.

        Raises:
            NephraError: it cannot be brought there.
        """
        if self.data is None:
            return send_in(given, self.client)
        return bring_in(given, self.data)

    def give(self, files: Mapping[str, str], out: Path) -> list[Path]:
        """Bring results into a folder; path in the data root → file name. Gives their paths.

        Raises:
            NephraError: they cannot be had, or written.
        """
        if self.data is None:
            return fetch_out(files, self.client, out)
        return bring_out(files, self.data, out)


@contextmanager
def connect(target: Target, start: bool = True) -> Iterator[Connection]:
    """Find the gateway: the one named, else the one that is up, else one for this command.

    Args:
        target: what the user said.
        start: whether one may be started.

    Raises:
        RequestInvalid: several are up and none was named.
        Unavailable: none is up, and none may be started.
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
    if not start:
        raise Unavailable(
            "No nephra is up here.",
            "Start one with `nephra up`, or name a gateway with --url.",
            code="nothing_up",
        )
    data = target.data or DEFAULT_DATA
    screen.say(f"No nephra is up: starting one on {data} for this command.")
    with (
        services(data, state=target.state, temporary=True) as up,
        Client(up.running.url, up.token) as client,
    ):
        yield Connection(client, Path(up.running.data), temporary=True)


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


def _token(given: Path | None, otherwise: Path | None = None) -> Token:
    """The token, or what reads it: a file's may be a new one when the gateway is a new one."""
    direct = os.environ.get("NEPHRA_TOKEN")
    if given is None and direct:
        return direct.strip()
    path = given or otherwise
    return None if path is None else partial(_read_token, path)


def _read_token(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise FileUnreadable(
            f"The token file {path} cannot be read.", "Mend --token-file, or set NEPHRA_TOKEN."
        ) from error
