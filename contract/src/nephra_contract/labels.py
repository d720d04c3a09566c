"""What the numbers in a label map mean.

The table is `labels.csv`: TotalSegmentator v2's numbers 1-117 (Wasserthal et al. 2023), 200 and
above for what that table lacks. Masks come in under several tables; they go out in this one.
"""

from __future__ import annotations

import colorsys
import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nephra_contract.errors import LabelsUnknown, RequestInvalid

KIDNEY_RIGHT, KIDNEY_LEFT = 2, 3
URINARY_BLADDER = 21
CYST_LEFT, CYST_RIGHT = 23, 24
AORTA, INFERIOR_VENA_CAVA = 52, 63
KIDNEY, TUMOR, CYST, ARTERY, VEIN = 200, 201, 202, 203, 204
URETER, URETER_RIGHT, URETER_LEFT, RENAL_PELVIS, PERIRENAL_FAT = 205, 206, 207, 208, 209
SPINE, RIBS, MUSCLE, SUBCUTANEOUS_FAT = 210, 211, 212, 213

#: Every label that is kidney parenchyma, whatever its side.
KIDNEYS = (KIDNEY_RIGHT, KIDNEY_LEFT, KIDNEY)
CYSTS = (CYST_LEFT, CYST_RIGHT, CYST)
URETERS = (URETER_RIGHT, URETER_LEFT, URETER)

LabelSpaceName = Literal["nephra", "totalseg_v2", "totalseg_v1", "kits"]
LabelSpace = LabelSpaceName | dict[str, int]

#: KiTS numbers (Heller et al. 2023).
_KITS = {1: "kidney", 2: "tumor", 3: "cyst"}

#: (hue in degrees, saturation, value, opacity) by group: a surgeon's usual colours.
_GROUP_COLOURS: Mapping[str, tuple[float, float, float, float]] = {
    "kidney": (14, 0.55, 0.72, 0.55),
    "tumor": (52, 0.85, 0.95, 1.0),
    "cyst": (190, 0.45, 0.90, 0.9),
    "artery": (2, 0.88, 0.88, 1.0),
    "vein": (220, 0.75, 0.85, 1.0),
    "urinary": (45, 0.45, 0.98, 1.0),
    "fat": (48, 0.35, 0.95, 0.25),
    "bone": (40, 0.14, 0.92, 1.0),
    "muscle": (8, 0.55, 0.55, 0.4),
    "organ": (24, 0.45, 0.62, 0.6),
}


@dataclass(frozen=True)
class Label:
    """One line of the table.

    Args:
        number: the voxel value.
        name: stable snake_case name; the object's name in OBJ and GLB.
        group: what kind of structure it is.
        source: the table that the number comes from.
    """

    number: int
    name: str
    group: str
    source: str

    @property
    def rgba(self) -> tuple[float, float, float, float]:
        """Stable colour and opacity, each 0..1; names of one group differ by a few degrees."""
        hue, saturation, value, opacity = _GROUP_COLOURS[self.group]
        # A golden-angle walk over the number keeps neighbours apart and never changes.
        turn = (self.number * 137.508) % 360 / 360 - 0.5
        spread = 40 if self.group == "organ" else 14
        hue = (hue + turn * spread) % 360
        return (*colorsys.hsv_to_rgb(hue / 360, saturation, value), opacity)


@cache
def table() -> Mapping[int, Label]:
    """The whole table by number, ascending."""
    return {
        int(row["id"]): Label(int(row["id"]), row["name"], row["group"], row["source"])
        for row in _rows("labels.csv")
    }


@cache
def numbers() -> Mapping[str, int]:
    """Number by name."""
    return {label.name: label.number for label in table().values()}


def name_of(number: int) -> str:
    """The name of a label; `label_N` where the table has none."""
    label = table().get(number)
    return label.name if label else f"label_{number}"


def group(name: str) -> tuple[int, ...]:
    """All numbers of one group, ascending."""
    return tuple(n for n, label in table().items() if label.group == name)


@cache
def _named_space(space: str) -> Mapping[int, int]:
    if space == "nephra":
        return {n: n for n in table()}
    if space == "totalseg_v2":
        return {n: n for n, label in table().items() if label.source == "totalsegmentator-v2"}
    if space == "totalseg_v1":
        return {int(r["id"]): numbers()[r["name"]] for r in _rows("totalseg_v1.csv")}
    return {n: numbers()[name] for n, name in _KITS.items()}


def mapping(space: LabelSpace) -> Mapping[int, int]:
    """From the numbers of a label space to ours.

    Args:
        space: a table's name, or `{name: number}` with our names.

    Raises:
        RequestInvalid: a name that is not in our table, or a number used twice.
    """
    if isinstance(space, str):
        return _named_space(space)
    strangers = sorted(set(space) - set(numbers()))
    if strangers:
        raise RequestInvalid(
            f"'labels' names structures that nephra does not know: {', '.join(strangers)}.",
            "Use the names that GET /labels lists.",
            strangers=strangers,
        )
    if len(set(space.values())) != len(space) or min(space.values(), default=1) < 1:
        raise RequestInvalid(
            "'labels' gives one number to two structures, or a number below 1.",
            "Give each structure its own positive number.",
        )
    return {number: numbers()[name] for name, number in space.items()}


def to_nephra(voxels: NDArray[Any], space: LabelSpace) -> NDArray[np.uint8]:
    """Renumber a label array into our table.

    Args:
        voxels: integers of any dtype, any shape.
        space: the table that they are in.

    Returns:
        The same shape, uint8 (our numbers end at 215).

    Raises:
        LabelsUnknown: numbers outside of the table; the error lists them.
    """
    table_of = mapping(space)
    present = _present(voxels)
    strangers = [n for n in present if n != 0 and n not in table_of]
    if strangers:
        shown = ", ".join(str(n) for n in strangers[:20])
        named = space if isinstance(space, str) else "given"
        raise LabelsUnknown(
            f"The mask holds numbers outside of the {named} table: {shown}.",
            "Say which table the mask is in with 'labels', or give {name: number}.",
            strangers=strangers[:100],
        )
    lookup = np.zeros(max(present, default=0) + 1, dtype=np.uint8)
    for number in present:
        if number:
            lookup[number] = table_of[number]
    return np.asarray(lookup[voxels])


def describe(present: Iterable[int]) -> dict[str, dict[str, Any]]:
    """The table of a mask, as it stands beside it in `<mask>.labels.json`."""
    described: dict[str, dict[str, Any]] = {}
    for number in sorted(present):
        label = table()[number]
        described[label.name] = {
            "number": number,
            "group": label.group,
            "rgba": [round(c, 4) for c in label.rgba],
        }
    return described


def _present(voxels: NDArray[Any]) -> list[int]:
    if voxels.size == 0:
        return []
    low, high = int(voxels.min()), int(voxels.max())
    if low < 0 or high > 65535:
        return [int(n) for n in np.unique(voxels)]
    seen = np.zeros(high + 1, dtype=bool)
    seen[voxels.ravel(order="K")] = True
    return [int(n) for n in np.flatnonzero(seen)]


def _rows(name: str) -> list[dict[str, str]]:
    text = files("nephra_contract").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))
