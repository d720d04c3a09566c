"""`nephra up`: gateway and predictors on this machine, until it is told to end."""

from __future__ import annotations

import json
import shlex
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from nephra_cli import screen
from nephra_cli.connection import DEFAULT_DATA, DataOption, StateOption
from nephra_cli.services import services
from nephra_cli.state import Running

DEFAULT_PORT = 8000


def up(
    data: DataOption = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the gateway; 0 takes a free one.")
    ] = DEFAULT_PORT,
    state: StateOption = None,
    bundles: Annotated[
        Path | None,
        typer.Option(
            envvar="NEPHRA_BUNDLES",
            help="Folder of nnU-Net bundles; by default those of the installation.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON when ready.")
    ] = False,
) -> None:
    """Start gateway and predictors on this machine (loopback only) and stay until Ctrl-C."""
    with _stopping() as stop:

        def waiting() -> None:
            if stop.is_set():
                raise KeyboardInterrupt

        root = data or DEFAULT_DATA
        screen.say(f"Starting nephra on {root} …")
        with services(root, port=port, state=state, bundles=bundles, waiting=waiting) as running:
            _announce(running.running, as_json)
            running.watch(stop)
            screen.say("Stopping …")


def _announce(running: Running, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(asdict(running)))
        return
    typer.echo(f"nephra is ready at {running.url}")
    typer.echo(f"  token file  {running.token_file}")
    typer.echo(f"  data root   {running.data}")
    typer.echo(f"  log         {running.log}")
    header = f"Authorization: Bearer $(cat {shlex.quote(running.token_file)})"
    typer.echo(f'Try: curl -H "{header}" {running.url}/operations')
    typer.echo("Ctrl-C ends it.")


@contextmanager
def _stopping() -> Iterator[threading.Event]:
    """An event that is set by Ctrl-C, a terminate signal, or the terminal's end."""
    stop = threading.Event()

    def told(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    kinds = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {kind: signal.signal(kind, told) for kind in kinds}
    try:
        yield stop
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
