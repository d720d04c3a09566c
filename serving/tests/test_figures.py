"""Figures of a benchmark, and what calls cost."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from nephra_serving.cost import cpu_seconds, describe_machine, read_mib, versions
from nephra_serving.figures import Cases, Figure, line, main, measured


def _fill(mib: int) -> int:
    """Take memory, and give it back."""
    return int(np.ones(mib << 20, dtype=np.uint8)[-1])


def test_a_call_costs_what_it_takes_at_its_peak() -> None:
    """Memory that is given back before the end counts, too; that of another call does not."""
    for mib in (300, 50):
        found, cost = measured(_fill, mib)
        assert found == 1
        assert cost.added_mib == pytest.approx(mib, abs=15)


def test_a_call_is_measured_in_another_process() -> None:
    """What it does to its process is not seen here."""
    assert measured(os.getpid)[0] != os.getpid()


def test_cpu_seconds_of_a_call_are_its_own() -> None:
    """What was spent before is not counted."""
    began = cpu_seconds()
    while cpu_seconds() - began < 0.2:
        pass
    assert measured(_fill, 1)[1].cpu_s < 0.2


def test_a_call_that_dies_is_an_error() -> None:
    """It is never a figure."""
    with pytest.raises(RuntimeError, match="exit code 7"):
        measured(os._exit, 7)


@pytest.mark.parametrize(
    ("value", "better", "met"),
    [(0.9, "more", True), (0.8, "more", False), (0.8, "less", True), (0.9, "less", False)],
)
def test_a_goal_is_met_or_not(value: float, better: str, met: bool) -> None:
    """In the direction that is wanted."""
    figure = Figure("tubes", "rejoined", value, goal=0.85, better=better)  # type: ignore[arg-type]
    assert figure.met is met
    assert ("MISSED" in line(figure)) is not met


def test_what_could_not_be_measured_is_neither() -> None:
    """No figure, no verdict, and the reason."""
    figure = Figure("fat", "share", None, goal=0.7, note="no real data")
    assert figure.met is None
    assert line(figure).split() == ["share", "-", ">=", "0.7", "no", "real", "data"]


def test_the_command_prints_the_figures_and_writes_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of the topics that were asked for, on the cases that were named."""
    monkeypatch.delenv("NEPHRA_REAL_DATA", raising=False)

    def size(cases: Cases) -> Iterator[Figure]:
        yield Figure("sizes", "files", float(len(list(cases.drawn.iterdir()))), goal=1, count=3)
        yield Figure("sizes", "real", None if cases.real is None else 1.0)

    def other(cases: Cases) -> Iterator[Figure]:
        raise AssertionError("was not asked for")

    (tmp_path / "cases").mkdir()
    report = tmp_path / "report.json"
    given = ["--cases", str(tmp_path / "cases"), "--topic", "size", "--json", str(report)]
    assert main("toy", {"size": size, "other": other}, ("numpy", "no-such"), given) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("sizes\n  files")
    assert "MISSED" in printed
    said = json.loads(report.read_text())
    assert said["figures"][0]["met"] is False
    assert said["figures"][1]["value"] is None
    assert said["versions"] == {"numpy": np.__version__}
    assert said["machine"]["cores"] >= 1


def test_what_the_system_does_not_say_is_none(tmp_path: Path) -> None:
    """No zero that looks like a figure."""
    assert read_mib(tmp_path / "none", "VmRSS") is None
    assert versions(["no-such-package"]) == {}
    assert describe_machine()["memory_gib"] > 0
