"""A training result → a bundle: weights without training state, ``bundle.yaml``, model card."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import yaml

from nephra_phantom.bundles.card import card
from nephra_phantom.bundles.plans import CONFIGURATION
from nephra_phantom.bundles.real_ct import RealCt
from nephra_phantom.bundles.tasks import TASKS, Task

CHECKPOINT = "checkpoint_final.pth"
FILES = ("dataset.json", "plans.json", f"fold_0/{CHECKPOINT}")
INTENDED_USE = "Demonstration on synthetic anatomy. Not for clinical use."


def export(task: Task, trained: Path, bundles: Path, real: RealCt | None) -> Path:
    """Write ``bundles/<task>``; the last finished or else the latest checkpoint is taken."""
    folder = bundles / task.name
    (folder / "fold_0").mkdir(parents=True, exist_ok=True)
    description = json.loads((trained / "dataset.json").read_text())
    description["numTraining"] = int(description["numTraining"])
    (folder / "dataset.json").write_text(json.dumps(description, indent=2) + "\n")
    plans = json.loads((trained / "plans.json").read_text())
    plans.pop("continue_training", None)
    (folder / "plans.json").write_text(json.dumps(plans, indent=2) + "\n")
    _strip(trained / "fold_0", folder / "fold_0" / CHECKPOINT)
    write_yaml(task, folder, {}, learned_real=task.uses_real_ct and real is not None)
    return folder


def _strip(fold: Path, target: Path) -> None:
    import torch

    found = [fold / name for name in (CHECKPOINT, "checkpoint_latest.pth")]
    source = next(path for path in found if path.exists())
    full = torch.load(source, map_location="cpu", weights_only=False)
    # Not cloned: the state dict names the encoder's tensors twice, and they are stored once.
    torch.save(
        {
            "network_weights": full["network_weights"],
            "trainer_name": "nnUNetTrainer",
            "init_args": {"configuration": CONFIGURATION, "fold": 0},
            "inference_allowed_mirroring_axes": None,
        },
        target,
    )


def write_yaml(task: Task, folder: Path, measured: dict[str, Any], *, learned_real: bool) -> None:
    """Write ``bundle.yaml`` and ``MODEL_CARD.md`` from what was measured (nothing at first)."""
    trained_on = (
        f"{task.cases} synthetic abdomens of nephra_phantom (seeds 1000-{999 + task.cases})"
    )
    if learned_real:
        trained_on += " and one real CT, the TotalSegmentator example without its top 30 slices"
    dice = measured.get("small", {})
    content = {
        "name": task.name,
        "task": task.name,
        "version": "1",
        "default": True,
        "channels": [choices[0] if len(choices) == 1 else list(choices) for choices in task.inputs],
        "labels": task.numbers,
        "folds": [0],
        "checkpoint": CHECKPOINT,
        "licence": "Apache-2.0",
        "trained_on": trained_on + ".",
        "measured_on": _measured_on(measured),
        "intended_use": INTENDED_USE,
        "metrics": {"dice": {name: round(row["mean"], 3) for name, row in dice.items()}},
        "files": {name: _sha256(folder / name) for name in FILES},
    }
    text = yaml.safe_dump(content, sort_keys=False, width=100, default_flow_style=None)
    (folder / "bundle.yaml").write_text(text)
    (folder / "MODEL_CARD.md").write_text(
        card(task, measured, trained_on, learned_real=learned_real)
    )


def learned_real_ct(folder: Path) -> bool:
    """Whether a bundle says that the real CT was part of its training."""
    content = yaml.safe_load((folder / "bundle.yaml").read_text())
    return content["name"] in TASKS and "one real CT" in content["trained_on"]


def _measured_on(measured: dict[str, Any]) -> str:
    if not measured:
        return "Not measured yet."
    counts = [
        f"{max(int(row['n']) for row in rows.values())} unseen phantoms on the {grid} grid"
        for grid, rows in measured.items()
        if grid != "real"
    ]
    if "real" in measured:
        counts.append("the upper abdomen of the real CT's patient, slices not trained on")
    return "; ".join(counts) + "."


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
