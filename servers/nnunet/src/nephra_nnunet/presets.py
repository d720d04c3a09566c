"""Published models: where their files lie, what their classes are, whose they are.

TotalSegmentator's class numbers are nephra's own for 1-117. Its full-resolution model is five
networks at 1.5 mm, each with a run of those classes in their order (Wasserthal et al.,
Radiology: Artificial Intelligence 2023, and the release of its second version).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nephra_contract import labels as names
from nephra_contract.errors import BundleInvalid
from nephra_contract.results import sha256
from nephra_nnunet.dataset import read_heads
from nephra_nnunet.manifest import MANIFEST, TaskName
from nephra_nnunet.training import Training, open_training, write_manifest

_DATASET = re.compile(r"Dataset([0-9]+)(?:_.*)?")
#: How deep below the given folder `plans.json` is looked for.
_DEPTHS = ("", "*/", "*/*/", "*/*/*/")


@dataclass(frozen=True)
class Part:
    """One network of a published model.

    Args:
        name: of its folder in the bundle.
        dataset: number in the name of its published folder.
        classes: nephra's numbers, in the order of the training's own.
    """

    name: str
    dataset: int
    classes: range


@dataclass(frozen=True)
class Preset:
    """A published model.

    Args:
        task: that it does.
        parts: its networks, in the order in which their labels are merged.
        about: members of `bundle.yaml` that say whose it is.
    """

    task: TaskName
    parts: tuple[Part, ...]
    about: Mapping[str, Any]


_TOTALSEGMENTATOR: Mapping[str, str] = {
    "version": "2.0.0",
    # TotalSegmentator turns every image to the closest RAS before its networks see it.
    "orientation": "RAS",
    "licence": "Apache-2.0",
    "source": "https://github.com/wasserth/TotalSegmentator/releases/tag/v2.0.0-weights",
    "measured_on": "Not measured with nephra; see Wasserthal et al., Radiology: Artificial "
    "Intelligence 2023.",
    "intended_use": "Research. Not a medical device.",
}
_SUBJECTS = "CTs of the TotalSegmentator dataset, version 2 (Wasserthal et al. 2023)."

PRESETS: Mapping[str, Preset] = {
    "totalsegmentator-total": Preset(
        task="totalseg",
        parts=(
            Part("organs", 291, range(1, 25)),
            Part("vertebrae", 292, range(25, 51)),
            Part("cardiac", 293, range(51, 69)),
            Part("muscles", 294, range(69, 92)),
            Part("ribs", 295, range(92, 118)),
        ),
        about={**_TOTALSEGMENTATOR, "trained_on": f"1559 (vertebrae 1532) {_SUBJECTS}"},
    ),
    "totalsegmentator-total-fast": Preset(
        task="totalseg",
        parts=(Part("total", 297, range(1, 118)),),
        about={**_TOTALSEGMENTATOR, "trained_on": f"1559 {_SUBJECTS}"},
    ),
}


def write_preset(
    preset: Preset,
    source: Path,
    target: Path,
    members: Mapping[str, Any],
    folds: Sequence[str],
    checkpoint: str,
) -> None:
    """Make a bundle of a published model's folders.

    Args:
        preset: the model.
        source: the folder below which the published folders lie.
        target: a folder that is not there yet.
        members: of `bundle.yaml`: name, channels, default, ….
        folds: to take; empty for all that are there.
        checkpoint: file of each fold.

    Raises:
        BundleInvalid: a folder is missing, there twice, or not what the model's should be.
    """
    places = find_parts(preset, source)
    said = {**members, "task": preset.task, **preset.about}
    if len(places) == 1:
        training = open_training(places[0], list(folds), checkpoint)
        training.write_bundle(target, {**said, "labels": _labels(training, preset.parts[0])})
        return
    orientation = said.pop("orientation")
    for part, place in zip(preset.parts, places, strict=True):
        own = {"name": f"{said['name']}-{part.name}", "default": False, "orientation": orientation}
        try:
            training = open_training(place, list(folds), checkpoint)
            labels = _labels(training, part)
            training.write_bundle(target / part.name, {**said, **own, "labels": labels})
        except BundleInvalid as error:
            raise BundleInvalid(f"Dataset{part.dataset}: {error.detail}", error.action) from error
    parts = [part.name for part in preset.parts]
    files = {f"{part}/{MANIFEST}": sha256(target / part / MANIFEST) for part in parts}
    write_manifest(target, {**said, "parts": parts, "files": files})


def find_parts(preset: Preset, source: Path) -> list[Path]:
    """The training folder of each part, by the number in the published folder's name.

    Raises:
        BundleInvalid: says which are missing, or there more than once.
    """
    found = [_places(source, part.dataset) for part in preset.parts]
    missing = [
        f"Dataset{part.dataset}_* ({part.name})"
        for part, places in zip(preset.parts, found, strict=True)
        if not places
    ]
    if missing:
        raise BundleInvalid(
            f"Below the folder there is no {', no '.join(missing)} with a plans.json.",
            "Download the published weights, unpack all of them into one folder, and name that.",
        )
    for part, places in zip(preset.parts, found, strict=True):
        if len(places) > 1:
            raise BundleInvalid(
                f"Below the folder there are {len(places)} trainings of Dataset{part.dataset} "
                f"({part.name}): {', '.join(p.name for p in places)}.",
                "Leave only the published one there.",
            )
    return [places[0] for places in found]


def _places(source: Path, dataset: int) -> list[Path]:
    """Folders with plans of this dataset, whatever follows the number in their name."""
    plans = [p for depth in _DEPTHS for p in source.glob(f"{depth}plans.json")]
    return sorted(p.parent for p in plans if _dataset(p.parent.resolve()) == dataset)


def _dataset(place: Path) -> int | None:
    """The number in the last of the folder names that has one."""
    found = [m for name in place.parts if (m := _DATASET.fullmatch(name))]
    return int(found[-1][1]) if found else None


def _labels(training: Training, part: Part) -> dict[str, int]:
    """Class of `dataset.json` → our number: by its name, or by its place where names are generic.

    Raises:
        BundleInvalid: other classes than the published network's.
    """
    heads = read_heads(training.dataset)
    classes = heads.names[1:]
    known = {c: names.numbers()[c] for c in classes if c in names.numbers()}
    if not heads.regions and len(classes) == len(part.classes):
        if set(known.values()) == set(part.classes):
            return known
        by_place = dict(zip(classes, part.classes, strict=True))
        if all(by_place[c] == number for c, number in known.items()):
            return by_place
    raise BundleInvalid(
        f"The classes of Dataset{part.dataset} are not the {len(part.classes)} of the published "
        f"network '{part.name}', from {names.name_of(part.classes[0])} to "
        f"{names.name_of(part.classes[-1])}.",
        "Take the published weights; add a model of your own with --task.",
    )
