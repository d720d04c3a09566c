"""The benchmark with stock nnU-Net beside nephra; see `make stock`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nephra_nnunet.bench.command import main

pytestmark = pytest.mark.stock


def test_stock_and_nephra_are_held_against_each_other(
    make_bundle: Callable[..., Path],
    tmp_path: Path,
    tiny: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Cost of each, ratios, and where their labels differ, three ways."""
    tiny.save(tmp_path / "ct.nii.gz", tiny.ct((60, 68, 52)))
    target = tmp_path / "report.json"
    given = ["--bundle", str(make_bundle("tumor")), "--image", str(tmp_path / "ct.nii.gz")]
    assert main([*given, "--float32-sums", "--threads", "1", "--json", str(target)]) == 0
    report = json.loads(target.read_text())
    assert list(report["runs"]) == ["nephra", "stock with float32 sums", "stock"]
    stages = ["import", "load", "read", "prepare", "network", "labels"]
    for run in report["runs"].values():
        assert [s["name"] for s in run["trials"][0]["stages"]] == stages
    # Importing torch and every trainer takes more memory than all of nephra does here.
    assert report["ratios"]["stock"]["peak_mib"] > 1
    assert {"torch", "nnunetv2"} <= set(report["versions"]["stock"])
    close, far, itself = report["agreement"]
    assert (close["first"], close["second"]) == ("nephra", "stock with float32 sums")
    assert close["differ"] <= 3
    assert close["mean_dice"] > 0.999
    assert far["differ"] <= itself["differ"] + 3
    assert "stock / nephra: CPU seconds" in capsys.readouterr().out
