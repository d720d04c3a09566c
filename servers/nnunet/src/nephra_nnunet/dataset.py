"""What `dataset.json` says of the network's inputs and outputs.

The rules are those of nnU-Net's LabelManager, so that the same file means the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nephra_contract.errors import BundleInvalid
from nephra_nnunet.documents import TRAINING_FOLDER, understood
from nephra_nnunet.plans import Heads

#: Labels are written as one byte, and nephra's table has fewer numbers than that.
MAX_HEADS = 255


def read_heads(dataset: Mapping[str, Any]) -> Heads:
    """Read the outputs from `dataset.json`.

    Raises:
        BundleInvalid: no background, numbers with gaps, regions without an order, an ignore
            label that is not the highest, or more outputs than a mask has numbers.
    """
    with understood("dataset.json"):
        declared = {str(k): _values(v) for k, v in dict(dataset["labels"]).items()}
        heads = _heads(dataset, declared)
    if len(heads.names) > MAX_HEADS:
        raise BundleInvalid(
            f"dataset.json declares {len(heads.names)} outputs; {MAX_HEADS} are the most that a "
            "mask can tell apart.",
            "Train several models with fewer classes each, and name them as parts of a bundle.",
        )
    return heads


def channel_count(dataset: Mapping[str, Any]) -> int:
    """How many channels `dataset.json` declares, in the new word or the old one.

    Raises:
        BundleInvalid: none.
    """
    channels = dataset.get("modality") or dataset.get("channel_names")
    if not isinstance(channels, Mapping) or not channels:
        raise BundleInvalid("dataset.json declares no channels.", TRAINING_FOLDER)
    return len(channels)


def _heads(dataset: Mapping[str, Any], declared: dict[str, tuple[int, ...]]) -> Heads:
    if declared.get("background") != (0,) or isinstance(dataset["labels"]["background"], list):
        raise BundleInvalid("dataset.json declares no label 'background': 0.", TRAINING_FOLDER)
    ignored = declared.pop("ignore", None)
    highest = max(number for values in declared.values() for number in values)
    if ignored is not None and ignored != (highest + 1,):
        raise BundleInvalid(
            f"dataset.json gives 'ignore' the number {', '.join(map(str, ignored))}; nnU-Net "
            f"takes it for {highest + 1}, one above the highest label, only.",
            TRAINING_FOLDER,
        )
    if any(len(values) > 1 for values in declared.values()):
        return _regions(declared, dataset.get("regions_class_order"))
    # A number with several names is one output, and goes by the first.
    by_number = {0: "background"}
    for name, values in declared.items():
        by_number.setdefault(values[0], name)
    numbers = tuple(sorted(by_number))
    if numbers != tuple(range(len(numbers))):
        raise BundleInvalid(
            f"dataset.json numbers its labels {_few(numbers)}; they must run from 0 without gaps.",
            TRAINING_FOLDER,
        )
    return Heads(tuple(by_number[number] for number in numbers), numbers, regions=False)


def _regions(declared: Mapping[str, tuple[int, ...]], order: Any) -> Heads:
    """Regions in the order of the file; one of nothing but background has no output."""
    names = tuple(name for name, values in declared.items() if set(values) != {0})
    if not isinstance(order, list) or len(order) != len(names):
        raise BundleInvalid(
            f"dataset.json has {len(names)} regions, but 'regions_class_order' does not list one "
            "number for each.",
            TRAINING_FOLDER,
        )
    return Heads(names, tuple(int(n) for n in order), regions=True)


def _values(value: Any) -> tuple[int, ...]:
    """A label's numbers; a list of one number is that number."""
    return tuple(int(v) for v in value) if isinstance(value, list) else (int(value),)


def _few(numbers: tuple[int, ...]) -> str:
    return ", ".join(str(n) for n in numbers[:10]) + (", …" if len(numbers) > 10 else "")
