"""Real vessels, severed by slabs across them: masks of patients with a truth of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray

from nephra_contract import labels as names
from nephra_contract.labels import LabelSpace
from nephra_contract.nifti import read_labels
from nephra_contract.orientation import canonical
from nephra_contract.volume import LabelMap, bounding_box

_FILES: tuple[tuple[str, LabelSpace, tuple[str, ...]], ...] = (
    (
        "ct/ts_example_ct_seg_v1.nii.gz",
        "totalseg_v1",
        ("aorta", "inferior_vena_cava", "iliac_artery_left", "iliac_artery_right",
         "iliac_vena_left", "iliac_vena_right"),
    ),
    ("ct/ts_example_ct_sm_seg_v2.nii.gz", "totalseg_v2", ("aorta", "inferior_vena_cava")),
    (
        "masks/veins_real_gaps/inferior_vena_cava_nogap_ref.nii.gz",
        {"inferior_vena_cava": 1},
        ("inferior_vena_cava",),
    ),
)  # fmt: skip
_GAPS_MM = (4.0, 8.0, 12.0)
_PLACES = (0.2, 0.35, 0.5, 0.65, 0.8)

Severed = tuple[str, LabelMap, NDArray[np.uint16], dict[str, Any]]


def sever_real(folder: Path) -> Iterator[Severed]:
    """Structure, severed mask, numbers of the cuts (1), and the description that `score` takes.

    Vessels that run along the body are cut by slabs at right angles to it; a cut counts where it
    parts the vessel in two there, and both sides keep max(8 mm, 0.8 gap, local diameter).
    """
    for name, space, structures in _FILES:
        if not (folder / name).is_file():
            continue
        labels = canonical(read_labels(folder / name, space))
        for structure in structures:
            number = names.numbers()[structure]
            box = bounding_box(labels.voxels == number, margin=12)
            if box is None:
                continue
            part = labels.crop(box)
            for gap_mm in _GAPS_MM:
                for place in _PLACES:
                    found = _cut(part, number, gap_mm, place)
                    if found is not None:
                        yield structure, *found


def _cut(
    labels: LabelMap, number: int, gap_mm: float, place: float
) -> tuple[LabelMap, NDArray[np.uint16], dict[str, Any]] | None:
    """One slab taken out of a structure, or None where that breaks the rule."""
    vessel = labels.voxels == number
    step_mm = labels.spacing_mm[2]
    filled = np.flatnonzero(vessel.any(axis=(0, 1)))
    thick = max(round(gap_mm / step_mm), 1)
    first = int(filled[0] + place * (filled[-1] - filled[0]))
    last = first + thick - 1
    if first - 1 < filled[0] or last + 1 > filled[-1]:
        return None
    truth = np.zeros(labels.shape, np.uint16)
    truth[:, :, first : last + 1][vessel[:, :, first : last + 1]] = 1
    rest = cc3d.connected_components(np.ascontiguousarray(vessel & (truth == 0)), connectivity=26)
    sides = []
    for level, inner in ((first - 1, slice(0, first)), (last + 1, slice(last + 1, None))):
        pieces = np.unique(rest[:, :, level][rest[:, :, level] > 0])
        if len(pieces) != 1:
            return None
        own = np.argwhere(rest == pieces[0])
        area_mm2 = float((rest[:, :, level] == pieces[0]).sum() * np.prod(labels.spacing_mm[:2]))
        kept_mm = float(np.unique(own[:, 2]).size * step_mm)
        if kept_mm < max(8.0, 0.8 * thick * step_mm, 2 * np.sqrt(area_mm2 / np.pi)):
            return None
        if (rest[:, :, inner] == pieces[0]).sum() != len(own):
            return None
        there = own[own[:, 2] == level]
        middle = there[np.argmin(((there - there.mean(axis=0)) ** 2).sum(axis=1))]
        sides.append((labels.to_world(middle), float(np.sqrt(area_mm2 / np.pi))))
    cut = labels.like(np.where(truth == 1, 0, labels.voxels).astype(np.uint8))
    described = {
        "number": 1,
        "gap_mm": thick * step_mm,
        "radius_mm": max(radius for _, radius in sides),
        "sides_mm": [point.tolist() for point, _ in sides],
    }
    return cut, truth, {"cuts": [described], "noise": []}
