"""`nephra bench geometry`: what repair and smoothing do to masks, measured on known truth."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from nephra_contract.errors import RequestInvalid, Unavailable

#: By service, the topics that its benchmark has.
TOPICS = {
    "nephra_postprocess": ("reconnection", "fat", "sample"),
    "nephra_smoothing": ("smoothing", "joint"),
}
_ALL = tuple(topic for topics in TOPICS.values() for topic in topics)


def geometry(
    topic: Annotated[
        list[str] | None,
        typer.Option("--topic", help=f"One of {', '.join(_ALL)}; all if left out."),
    ] = None,
    real: Annotated[
        Path | None,
        typer.Option(help="Folder of real masks and CTs; NEPHRA_REAL_DATA if left out, else none."),
    ] = None,
    cases: Annotated[
        Path | None,
        typer.Option(help="Keep the drawn phantoms here, and take those that are there."),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Few and small cases: whether all works, no figures.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--json", help="Write the whole report there too.")
    ] = None,
) -> None:
    """Measure reconnection, fat, sample and smoothing, on phantoms and on real masks."""
    wanted = _wanted(topic)
    with tempfile.TemporaryDirectory(prefix="nephra-bench-") as folder:
        drawn = cases or Path(folder) / "cases"
        if not drawn.is_dir() or not any(drawn.iterdir()):
            _draw(drawn, wanted, quick)
        options = ["--cases", str(drawn)]
        options += ["--real", str(real)] if real is not None else []
        options += ["--quick"] if quick else []
        report: dict[str, Any] = {"machine": {}, "versions": {}, "figures": []}
        for service, topics in TOPICS.items():
            asked = [word for t in topics if t in wanted for word in ("--topic", t)]
            if asked:
                found = _measure(service, [*asked, *options], Path(folder) / f"{service}.json")
                report["machine"] = found["machine"]
                report["versions"] |= found["versions"]
                report["figures"] += found["figures"]
    if output is not None:
        output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    goals = [f["met"] for f in report["figures"] if f["met"] is not None]
    typer.echo(f"{sum(goals)} of {len(goals)} goals met")


def _wanted(topic: list[str] | None) -> list[str]:
    strangers = sorted(set(topic or ()) - set(_ALL))
    if strangers:
        raise RequestInvalid(
            f"There is no topic '{strangers[0]}'.", f"Choose among {', '.join(_ALL)}."
        )
    return topic or list(_ALL)


def _draw(folder: Path, topics: list[str], quick: bool) -> None:
    if importlib.util.find_spec("nephra_phantom") is None:
        raise Unavailable(
            "Drawing the cases needs the phantom, which is not installed.",
            "Install it with `pip install nephra-cli[demo]`.",
            code="demo_missing",
        )
    asked = [word for t in topics for word in ("--topic", t)]
    quickly = ["--quick"] if quick else []
    _run("nephra_phantom.cases", [str(folder), *asked, *quickly])


def _measure(service: str, options: list[str], report: Path) -> dict[str, Any]:
    """Run a service's benchmark; its table goes to the terminal."""
    if importlib.util.find_spec(service) is None:
        raise Unavailable(
            f"The predictor '{service}' is not installed here.",
            "Install it with `pip install nephra-cli[local]`.",
            code="services_missing",
        )
    _run(service, ["bench", *options, "--json", str(report)])
    found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return found


def _run(module: str, arguments: list[str]) -> None:
    command = [sys.executable, "-m", module, *arguments]
    ended = subprocess.run(command, check=False)  # noqa: S603 - our own module, no shell
    if ended.returncode:
        raise typer.Exit(ended.returncode)
