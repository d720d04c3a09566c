"""Benchmarks of pure operations: figures beside their goals, each run in a process of its own.

A service's benchmark is a table of topics; each is a function that looks at the cases of a folder
and yields figures. `main` runs them, prints the table and writes the JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from nephra_serving.cost import (
    cpu_seconds,
    describe_machine,
    forget_peak,
    peak_mib,
    resident_mib,
    versions,
)

#: The folder of real masks and CTs, where one is given.
REAL_DATA = "NEPHRA_REAL_DATA"


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Args:
        topic: what it belongs to, for example `severed tubes, 0.8 mm`.
        name: what was measured.
        value: the figure; None if it could not be measured, and `note` says why.
        unit: `%`, `CPU s`, `MiB`, `mm`, `degrees`, or empty for a share or a ratio.
        goal: what is aimed at; None if nothing is.
        better: whether more or less of it is wanted.
        count: how many cases it stands for.
        note: a remark.
    """

    topic: str
    name: str
    value: float | None
    unit: str = ""
    goal: float | None = None
    better: Literal["more", "less"] = "more"
    count: int = 1
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without a goal or a figure."""
        if self.goal is None or self.value is None:
            return None
        return self.value >= self.goal if self.better == "more" else self.value <= self.goal


@dataclass(frozen=True)
class Cost:
    """What a call took.

    Args:
        cpu_s: CPU seconds of all threads.
        added_mib: peak of resident memory, less what was resident before; None where the
            system does not say.
    """

    cpu_s: float
    added_mib: float | None


@dataclass(frozen=True)
class Cases:
    """What is measured on.

    Args:
        drawn: a folder of phantoms with their truth.
        real: a folder of real masks and CTs; None where there is none.
        quick: take a few cases of each, to see that all works.
    """

    drawn: Path
    real: Path | None
    quick: bool


Topic = Callable[[Cases], Iterable[Figure]]


def measured(function: Callable[..., Any], *arguments: Any) -> tuple[Any, Cost]:
    """Call a function in a child process that shares what is loaded here.

    Peaks of earlier calls, and memory that an allocator keeps, then do not count.

    Args:
        function: what it returns can be pickled.
        arguments: its arguments; they are inherited, not copied.

    Returns:
        What it returned, and what it cost.

    Raises:
        RuntimeError: the child did not come to its end.
    """
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_call, args=(sender, function, arguments))
    with warnings.catch_warnings():
        # Python 3.12 warns of threads that do not live on in a fork; the child needs none of them.
        warnings.simplefilter("ignore", DeprecationWarning)
        child.start()
    sender.close()
    try:
        found, cost = receiver.recv()
    except EOFError as error:
        child.join()
        raise RuntimeError(f"the measured call ended with exit code {child.exitcode}") from error
    child.join()
    return found, cost


def main(
    service: str, topics: Mapping[str, Topic], packages: Sequence[str], argv: Sequence[str]
) -> int:
    """Run a service's benchmark: print each figure as it is found, write all as JSON.

    Args:
        service: its name.
        topics: by name.
        packages: whose versions the report says.
        argv: the arguments behind `bench`.
    """
    asked = _parser(service, topics).parse_args(argv)
    cases = Cases(asked.cases, _real(asked.real), asked.quick)
    figures: list[Figure] = []
    for name in asked.topic or topics:
        for figure in topics[name](cases):
            if not figures or figures[-1].topic != figure.topic:
                sys.stdout.write(figure.topic + "\n")
            sys.stdout.write(line(figure) + "\n")
            sys.stdout.flush()
            figures.append(figure)
    report = {
        "machine": describe_machine(),
        "versions": versions(packages),
        "figures": [{**asdict(f), "met": f.met} for f in figures],
    }
    if asked.json is not None:
        asked.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def line(figure: Figure) -> str:
    """A figure as one line of the table."""
    value = "-" if figure.value is None else f"{figure.value:.4g}"
    goal = ""
    if figure.goal is not None:
        goal = f"{'>=' if figure.better == 'more' else '<='} {figure.goal:g}"
    verdict = {None: "", True: "met", False: "MISSED"}[figure.met]
    said = f"  {figure.name:<46} {value:>9} {figure.unit:<8} {goal:<9} {verdict:<6}"
    more = [f"n={figure.count}"] if figure.count > 1 else []
    return f"{said} {', '.join([*more, *([figure.note] if figure.note else [])])}".rstrip()


def _call(sender: Any, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    before, exact = resident_mib(), forget_peak()
    started = cpu_seconds()
    found = function(*arguments)
    took = cpu_seconds() - started
    peak = peak_mib()
    added = peak - before if exact and peak is not None and before is not None else None
    sender.send((found, Cost(took, added)))
    sender.close()


def _real(given: Path | None) -> Path | None:
    path = given or (Path(os.environ[REAL_DATA]) if os.environ.get(REAL_DATA) else None)
    return path if path is not None and path.is_dir() else None


def _parser(service: str, topics: Mapping[str, Topic]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m nephra_{service} bench",
        description=f"Measures the operations of nephra's predictor '{service}'.",
    )
    parser.add_argument("--cases", type=Path, required=True, metavar="DIR", help="phantoms")
    parser.add_argument(
        "--real", type=Path, metavar="DIR", help=f"real masks and CTs; default: {REAL_DATA}"
    )
    parser.add_argument("--topic", action="append", choices=tuple(topics), help="default: all")
    parser.add_argument("--quick", action="store_true", help="a few cases of each")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    return parser
