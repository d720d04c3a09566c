"""A folder as `nnUNetv2_train` leaves it, and how it becomes a bundle."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nephra_contract import labels as names
from nephra_contract.errors import BundleInvalid
from nephra_contract.results import sha256
from nephra_nnunet.dataset import channel_count, read_heads
from nephra_nnunet.documents import read_document
from nephra_nnunet.manifest import MANIFEST

_FILES = ("dataset.json", "plans.json")
_FOLD = re.compile(r"fold_([0-9]+|all)")


@dataclass(frozen=True)
class Training:
    """A trained nnU-Net.

    Args:
        folder: that training left.
        folds: to average.
        checkpoint: file of each fold.
        dataset: its `dataset.json`.
    """

    folder: Path
    folds: tuple[str, ...]
    checkpoint: str
    dataset: Mapping[str, Any]

    def check_channels(self, channels: list[list[str]]) -> None:
        """Refuse another number of channels than it was trained with.

        Raises:
            BundleInvalid: says both numbers.
        """
        declared = channel_count(self.dataset)
        if len(channels) != declared:
            raise BundleInvalid(
                f"dataset.json declares {declared} channels, not {len(channels)}.",
                "Name the phases of each with --channels, such as A,P.",
            )

    def write_bundle(self, target: Path, manifest: Mapping[str, Any]) -> None:
        """Copy what inference needs, and write `bundle.yaml`.

        Args:
            target: a folder that is not there yet.
            manifest: the members of `bundle.yaml`, without folds and files.

        Raises:
            BundleInvalid: a file is missing.
        """
        files = [*_FILES, *(f"fold_{fold}/{self.checkpoint}" for fold in self.folds)]
        for file in files:
            if not (self.folder / file).is_file():
                raise BundleInvalid(f"The folder holds no {file}.", "Name the training's folder.")
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(self.folder / file, target / file)
        members = {
            **manifest,
            "folds": [f if f == "all" else int(f) for f in self.folds],
            "checkpoint": self.checkpoint,
            "files": {file: sha256(target / file) for file in files},
        }
        write_manifest(target, members)


def open_training(folder: Path, folds: list[str], checkpoint: str) -> Training:
    """Look at a folder that training left.

    Args:
        folder: with `dataset.json`, `plans.json` and `fold_…`.
        folds: to take; empty for all that are there. As nnU-Net does, `fold_all` is taken only
            where there is no other.
        checkpoint: file of each fold.

    Raises:
        BundleInvalid: no fold has that checkpoint, or `dataset.json` cannot be read.
    """
    found = folds or sorted(
        match[1]
        for path in folder.glob(f"fold_*/{checkpoint}")
        if (match := _FOLD.fullmatch(path.parent.name))
    )
    if not folds and found != ["all"]:
        found = [fold for fold in found if fold != "all"]
    if not found:
        raise BundleInvalid(
            f"The folder holds no fold_*/{checkpoint}.",
            "Name the folder that nnUNetv2_train left, and its checkpoint with --checkpoint.",
        )
    strange = [fold for fold in found if not _FOLD.fullmatch(f"fold_{fold}")]
    if strange:
        raise BundleInvalid(
            f"'{strange[0]}' is no fold.", "Name folds by numbers, or 'all', such as 0,1,2."
        )
    return Training(folder, tuple(found), checkpoint, read_document(folder, "dataset.json"))


def numbers(dataset: Mapping[str, Any], given: Mapping[str, int]) -> dict[str, int | None]:
    """Number of each class: as given, else the one that has its name in nephra's table.

    Raises:
        BundleInvalid: a class has neither.
    """
    heads = read_heads(dataset)
    classes = heads.names if heads.regions else heads.names[1:]
    found = {c: given.get(c, names.numbers().get(c)) for c in classes}
    nameless = [c for c, number in found.items() if number is None]
    if nameless:
        raise BundleInvalid(
            f"nephra's table has no name for the classes: {', '.join(nameless[:10])}.",
            "Give their numbers with --labels CLASS=NUMBER; CLASS=0 drops one.",
        )
    strangers = sorted(set(given) - set(classes))
    if strangers:
        raise BundleInvalid(
            f"--labels names classes that dataset.json does not have: {', '.join(strangers[:10])}.",
            f"It has: {', '.join(classes[:10])}.",
        )
    return {c: number or None for c, number in found.items()}


def write_manifest(folder: Path, members: Mapping[str, Any]) -> None:
    """Write `bundle.yaml`."""
    text = yaml.safe_dump(dict(members), sort_keys=False, allow_unicode=True)
    (folder / MANIFEST).write_text(text, encoding="utf-8")
