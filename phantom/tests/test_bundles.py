"""The committed demo bundles are whole, small, and say what they are."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml

from nephra_phantom.bundles.card import card
from nephra_phantom.bundles.tasks import TASKS, Task

BUNDLES = Path(__file__).parents[2] / "bundles"
ALL = list(TASKS.values())


@pytest.mark.parametrize("task", ALL, ids=list(TASKS))
def test_files_are_those_that_were_measured(task: Task) -> None:
    """Each file has the sha256 that bundle.yaml states."""
    folder = BUNDLES / task.name
    for name, digest in yaml.safe_load((folder / "bundle.yaml").read_text())["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("task", ALL, ids=list(TASKS))
def test_labels_and_channels_are_the_tasks(task: Task) -> None:
    """bundle.yaml and nnU-Net's description agree with the code that trained them."""
    folder = BUNDLES / task.name
    described = yaml.safe_load((folder / "bundle.yaml").read_text())
    assert described["labels"] == task.numbers
    assert len(described["channels"]) == len(task.inputs)
    assert described["licence"] == "Apache-2.0"
    stored = json.loads((folder / "dataset.json").read_text())
    assert stored["labels"] == task.labels
    plans = json.loads((folder / "plans.json").read_text())
    assert plans["configurations"]["3d_fullres"]["spacing"] == [task.spacing_mm] * 3


@pytest.mark.parametrize("task", ALL, ids=list(TASKS))
def test_every_class_was_measured_and_the_card_says_so(task: Task) -> None:
    """Dice of each class on unseen phantoms stands in both, with the warning."""
    folder = BUNDLES / task.name
    dice = yaml.safe_load((folder / "bundle.yaml").read_text())["metrics"]["dice"]
    assert set(dice) == set(task.classes)
    text = (folder / "MODEL_CARD.md").read_text()
    assert "Not for\nclinical use" in text
    assert "unseen phantoms" in text


def test_all_bundles_together_stay_small() -> None:
    """The repository carries less than 25 MB of them."""
    files = [path for path in BUNDLES.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 25e6
    assert not [path for path in files if path.suffix in (".bin", ".xml", ".onnx")]


def test_card_tells_what_was_measured() -> None:
    """The numbers go into the card's tables."""
    rows = {"kidney": {"n": 3, "mean": 0.961, "min": 0.95}}
    text = card(TASKS["ureter"], {"small": rows}, "Some phantoms", learned_real=True)
    assert "| kidney | 3 | 0.961 | 0.950 |" in text
    assert "Wasserthal" in text
