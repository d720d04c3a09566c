"""Promises of the anatomy that a sample is made from."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np

from nephra_contract import labels as names
from nephra_contract.nifti import read_labels
from nephra_phantom.template import main, template_labels, template_lines


def test_organs_are_healthy_and_without_tubes() -> None:
    """Kidneys closed over their sinus; no lesion, vessel or ureter."""
    labels = template_labels(spacing_mm=6.0)
    assert {names.KIDNEY_RIGHT, names.KIDNEY_LEFT, names.SPINE} <= set(labels.present)
    gone = {names.TUMOR, names.CYST, names.AORTA, names.ARTERY, names.VEIN, *names.URETERS}
    assert not gone & set(labels.present)


def test_tubes_are_named_and_within_the_grid() -> None:
    """Each with a label of the table, a radius at every point, and no jump between points."""
    tubes = template_lines()
    assert {"aorta", "renal_artery_left", "ureter_right", "renal_pelvis_left"} <= {
        t["name"] for t in tubes
    }
    for tube in tubes:
        points = np.array(tube["points_mm"])
        assert tube["label"] in names.table()
        assert len(points) == len(tube["radii_mm"]) >= 2
        assert np.abs(points[:, 2]).max() <= 150
        assert max(np.linalg.norm(b - a) for a, b in pairwise(points)) < 15


def test_the_command_writes_both_files(tmp_path: Path) -> None:
    """Where it is told to."""
    assert main([str(tmp_path / "new")]) == 0
    assert read_labels(tmp_path / "new" / "template.nii.gz").counts
    assert json.loads((tmp_path / "new" / "template_lines.json").read_text())["tubes"]
