"""How well masks agree with the phantom's truth."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from nephra_contract import labels as names
from nephra_contract.merge import regrid
from nephra_contract.sides import midline_x_mm
from nephra_contract.volume import LabelMap

#: The models' vessels are whole trees; the truth tells the trunks from their branches.
_TREES: Mapping[int, tuple[int, ...]] = {
    names.ARTERY: (names.AORTA, names.ARTERY),
    names.VEIN: (names.INFERIOR_VENA_CAVA, names.VEIN),
    names.KIDNEY: names.KIDNEYS,
    names.URETER: (*names.URETERS, names.RENAL_PELVIS),
}


def dice_by_name(mask: LabelMap, truth: Mapping[str, LabelMap]) -> dict[str, float | None]:
    """Dice of each structure of a mask, or None where the truth does not know it.

    A structure of the truth that the mask lacks altogether is listed with 0.

    Args:
        mask: of the whole anatomy.
        truth: phase → label map. Ureters are judged where they lay in the delayed phase, in
            which they are seen; all else in the arterial one.
    """
    arterial = _on_grid(truth["A"], mask)
    delayed = _on_grid(truth.get("D", truth["A"]), mask)
    midline_mm = midline_x_mm(arterial)
    found: dict[str, float | None] = {}
    for number in sorted({*mask.present, *_expected(mask, arterial)}):
        is_ureter = number in names.URETERS
        true = _true(number, delayed if is_ureter else arterial, midline_mm)
        found[names.name_of(number)] = dice(mask.mask((number,)), true) if true.any() else None
    return found


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Twice what both share, by the sum of both (Dice 1945); 1 if both are empty."""
    total = int(np.count_nonzero(one)) + int(np.count_nonzero(other))
    return 2 * int(np.count_nonzero(one & other)) / total if total else 1.0


def _on_grid(truth: LabelMap, mask: LabelMap) -> LabelMap:
    return truth if truth.same_grid(mask) else regrid(truth, mask)


def _expected(mask: LabelMap, truth: LabelMap) -> set[int]:
    """What the mask should have: kidneys and what surgeons look for, if it is really there."""
    wanted = {names.KIDNEY_RIGHT, names.KIDNEY_LEFT, names.TUMOR, names.CYST}
    wanted |= {names.ARTERY, names.VEIN, names.URETER_RIGHT, names.URETER_LEFT}
    covered = {n for tree in _TREES for n in _TREES[tree] if tree in mask.present}
    return (wanted & set(truth.present)) - (covered - set(mask.present))


def _true(number: int, truth: LabelMap, midline_mm: float) -> NDArray[np.bool_]:
    if number not in (names.URETER_RIGHT, names.URETER_LEFT):
        return truth.mask(_TREES.get(number, (number,)))
    # A model's ureter begins in the renal pelvis, which the truth does not tell by sides.
    true = truth.mask((number,))
    pelvis = np.argwhere(truth.mask((names.RENAL_PELVIS,)))
    is_right = truth.to_world(pelvis)[:, 0] > midline_mm
    true[tuple(pelvis[is_right == (number == names.URETER_RIGHT)].T)] = True
    return true
