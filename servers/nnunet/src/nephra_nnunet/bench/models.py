"""The model that a benchmark runs: a bundle, or a folder as nnU-Net's training left it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nephra_contract.errors import BundleInvalid
from nephra_contract.results import sha256
from nephra_nnunet.bench.random_bundles import SIZES, make_bundle
from nephra_nnunet.bundle import Bundle, load_bundle
from nephra_nnunet.dataset import channel_count
from nephra_nnunet.documents import read_document
from nephra_nnunet.manifest import MANIFEST

_CHECKPOINT = "checkpoint_final.pth"


@dataclass(frozen=True)
class Model:
    """What stock and nephra both run.

    Args:
        folder: for both: nnU-Net reads the same files, and `bundle.yaml` does not disturb it.
        bundle: as nephra sees it.
    """

    folder: Path
    bundle: Bundle

    def named(self) -> dict[str, Any]:
        """As the report says it."""
        bundle = self.bundle
        return {
            "name": bundle.name,
            "outputs": bundle.architecture.heads,
            "network": bundle.architecture.kind,
            "features": list(bundle.architecture.features),
            "patch": list(bundle.plans.patch),
            "spacing_mm": list(bundle.plans.spacing_mm),
            "folds": list(bundle.manifest.folds),
        }


def open_model(folder: Path | None, size: str | None, work: Path) -> Model:
    """The model that is asked for.

    Args:
        folder: a bundle, or a trained folder; None for random weights.
        size: one of `SIZES`, where no folder is given.
        work: a folder for what has to be made.

    Raises:
        BundleInvalid: it cannot be run, or has several parts.
    """
    if folder is None:
        place = make_bundle(work / "bundles" / str(size), SIZES[str(size)])
    else:
        place = folder if (folder / MANIFEST).is_file() else _adopt(folder.resolve(), work)
    bundle = load_bundle(place)
    if len(bundle.parts) > 1:
        raise BundleInvalid(
            f"'{bundle.name}' is made of {len(bundle.parts)} models; one is measured at a time.",
            f"Name one of its parts: {', '.join(p.folder.name for p in bundle.parts)}.",
        )
    return Model(place, bundle)


def _adopt(folder: Path, work: Path) -> Path:
    """A bundle of links to a trained folder, for this benchmark only."""
    dataset = read_document(folder, "dataset.json")
    read_document(folder, "plans.json")
    folds = sorted(p.parent.name for p in folder.glob(f"fold_*/{_CHECKPOINT}"))
    if not folds:
        raise BundleInvalid(
            f"The folder holds no fold_*/{_CHECKPOINT}.",
            "Name a bundle, or the folder that nnUNetv2_train left.",
        )
    target = work / "bundles" / "trained"
    files = ["dataset.json", "plans.json", *(f"{fold}/{_CHECKPOINT}" for fold in folds)]
    for file in files:
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        (target / file).symlink_to(folder / file)
    channels = channel_count(dataset)
    numbers = [fold.removeprefix("fold_") for fold in folds]
    names = [n for n in dataset.get("labels", {}) if n not in ("background", "ignore")]
    manifest = {
        "name": "trained",
        # A task that takes as many channels; nothing else depends on it here.
        "task": "totalseg" if channels == 1 else "vessel",
        "channels": [["A", "P"]] * channels,
        "labels": dict.fromkeys(names),
        "folds": [n if n == "all" else int(n) for n in numbers],
        "files": {file: sha256(target / file) for file in files},
    }
    (target / MANIFEST).write_text(yaml.safe_dump(manifest), encoding="utf-8")
    return target
