"""`postprocess/merge`: several masks into one, on the first one's grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nephra_contract import labels as names
from nephra_contract.errors import RequestInvalid
from nephra_contract.merge import merge, regrid
from nephra_contract.operation import Input, Operation, Parameters
from nephra_contract.orientation import Orientation, canonical
from nephra_contract.progress import Progress
from nephra_contract.volume import LabelMap
from nephra_postprocess.structures import numbers_of

EVERYTHING = "*"


class Merge(Parameters):
    """Several masks into one, on the first one's grid.

    Where two masks disagree, the smaller and more decisive structure stays: tumour over cyst
    over urinary tract over artery over vein over kidney over the rest.
    """

    take: list[list[str]] | None = Field(
        default=None,
        description="For each mask, in order, the names of structures or groups that are taken "
        "from it; '*' takes all that is in it. Without, everything is taken from every mask.",
    )


def merge_masks(maps: Sequence[LabelMap], parameters: Merge, progress: Progress) -> LabelMap:
    """Merge masks that may each lie on a grid of their own.

    Raises:
        RequestInvalid: `take` has not one entry per mask, or names an unknown structure.
    """
    progress.advance(0.0, "merging")
    wanted = _wanted(parameters.take, len(maps))
    orientation, first = Orientation.of(maps[0]), canonical(maps[0])
    merged = LabelMap(_only(first, wanted[0]), first.affine)
    for count, (other, numbers) in enumerate(zip(maps[1:], wanted[1:], strict=True), start=1):
        progress.advance(count / len(maps), "merging")
        theirs = canonical(other)
        taken = LabelMap(_only(theirs, numbers), theirs.affine)
        if not taken.same_grid(merged):
            taken = regrid(taken, merged)
        merged = merge([merged, taken])
    voxels = np.empty_like(maps[0].voxels, dtype=merged.voxels.dtype)
    orientation.view(voxels)[...] = merged.voxels
    progress.advance(1.0, "merging")
    return maps[0].like(voxels)


def _wanted(take: list[list[str]] | None, count: int) -> list[tuple[int, ...] | None]:
    """Per mask the numbers that are taken from it; None is all."""
    if take is None:
        return [None] * count
    if len(take) != count:
        raise RequestInvalid(
            f"'take' has {len(take)} entries for {count} masks.",
            "Give one list of structures per mask, in the order of 'mask_path'.",
        )
    return [None if EVERYTHING in taken else numbers_of(taken, "take") for taken in take]


def _only(labels: LabelMap, numbers: tuple[int, ...] | None) -> NDArray[Any]:
    """The voxels of some labels; a view where all are wanted."""
    if numbers is None:
        return labels.voxels
    kept = np.zeros(max(names.table()) + 1, dtype=np.uint8)
    kept[list(numbers)] = numbers
    return np.asarray(kept[labels.voxels])


OPERATION = Operation(
    name="postprocess/merge",
    inputs=(Input("mask_path", "mask", "The masks, in order.", many=True, separate=True),),
    parameters=Merge,
    function=merge_masks,
    example={"mask_path": ["cases/17/tumor.nii.gz", "cases/17/organs.nii.gz"]},
)
