"""Helm's engine, in a process of its own.

It is Go, and Go's runtime does not stand every library that other tests have loaded by then: in
one process with them it ends in a segmentation fault.

    python -m chart.helm    answers a line of JSON for each: [call, values, name, namespace]
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

CHART = Path(__file__).resolve().parents[2] / "charts" / "nephra"


class Refused(Exception):
    """Helm refuses the values; the message is Helm's own."""


def render(given: Any, name: str, namespace: str) -> dict[str, str]:
    """Template to rendered text.

    Raises:
        Refused: by the schema, or by a template.
    """
    made: dict[str, str] = _ask("render", given, name, namespace)
    return made


def validate(given: Any) -> None:
    """Hold values to the schema alone.

    Raises:
        Refused: they are not as it says.
    """
    _ask("validate", given)


def lint(given: Any) -> dict[str, Any]:
    """The report of `helm lint --strict`: errors and messages."""
    report: dict[str, Any] = _ask("lint", given)
    return report


def kube_version() -> str:
    """What the chart says that it needs."""
    return str(_ask("metadata", None)["kubeVersion"])


def _ask(call: str, given: Any, name: str = "", namespace: str = "") -> Any:
    child = _child()
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(json.dumps([call, given, name, namespace]) + "\n")
    child.stdin.flush()
    answer = json.loads(child.stdout.readline())
    if "refused" in answer:
        raise Refused(answer["refused"])
    return answer["made"]


@cache
def _child() -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-m", "chart.helm"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(_end, child)
    return child


def _end(child: subprocess.Popen[str]) -> None:
    child.communicate(timeout=30)


def _answer() -> None:
    """Serve until the input ends."""
    import helm_python

    chart = helm_python.Chart.load(CHART)
    for line in sys.stdin:
        call, given, name, namespace = json.loads(line)
        try:
            made: Any = None
            if call == "render":
                made = chart.render(given, name=name, namespace=namespace)
            elif call == "validate":
                chart.validate_schema(given)
            elif call == "lint":
                made = helm_python.lint(CHART, given, strict=True)
            else:
                made = dict(chart.metadata)
            said = {"made": made}
        except helm_python.HelmError as error:
            said = {"refused": str(error)}
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _answer()
