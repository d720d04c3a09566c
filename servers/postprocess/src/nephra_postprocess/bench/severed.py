"""How well severed tubes were rejoined: an output held against what had been taken away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from nephra_contract.volume import LabelMap, bounding_box

Mask = NDArray[np.bool_]
_NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True)
class CutScore:
    """What became of one cut.

    Args:
        gap_mm, radius_mm: of the cut.
        joined: its two sides hang together through the gap.
        dice: overlap of the voxels added in its surroundings with those removed; 0 if not joined.
        near_dice: the same, where a voxel counts as met if one of its 26 neighbours, or itself,
            is of the other set: (met added + met removed) / (added + removed).
    """

    gap_mm: float
    radius_mm: float
    joined: bool
    dice: float
    near_dice: float


@dataclass(frozen=True)
class Score:
    """What became of one case.

    Args:
        cuts: one by one.
        noise: for each false piece, whether it hangs together with anything else now.
    """

    cuts: list[CutScore]
    noise: list[bool]


def score(
    before: LabelMap,
    after: LabelMap,
    truth: NDArray[Any],
    numbers: Iterable[int],
    described: Mapping[str, Any],
) -> Score:
    """Judge an output.

    A cut is rejoined if its sides are of one component of the output, and are so within the
    surroundings of its gap too: the box of the removed voxels, widened by the larger of 8 mm and
    the local diameter.

    Args:
        before: the input, with noise.
        after: the output, on the same grid.
        truth: (I, J, K) numbers of cuts and of false pieces, as `case.json` has them.
        numbers: the labels of the tree.
        described: the content of `case.json`.
    """
    wanted = tuple(numbers)
    old, new = before.mask(wanted), after.mask(wanted)
    pieces = cc3d.connected_components(new, connectivity=26)
    cuts = [_score_cut(before, old, new, pieces, truth, cut) for cut in described["cuts"]]
    former = cc3d.connected_components(old, connectivity=26)
    owners = _owners(former[old], pieces[old])
    noise = []
    for piece in described["noise"]:
        there = truth == piece["number"]
        mine = set(np.unique(former[there]).tolist())
        noise.append(any(owners[int(p)] - mine for p in np.unique(pieces[there])))
    return Score(cuts, noise)


def _owners(former: NDArray[Any], latter: NDArray[Any]) -> dict[int, set[int]]:
    """By component of the output, the components of the input that are in it."""
    found: dict[int, set[int]] = {}
    for old, new in np.unique(np.stack([former, latter], axis=1), axis=0).tolist():
        found.setdefault(new, set()).add(old)
    return found


def _score_cut(
    before: LabelMap,
    old: Mask,
    new: Mask,
    pieces: NDArray[Any],
    truth: NDArray[Any],
    cut: Mapping[str, Any],
) -> CutScore:
    removed = truth == cut["number"]
    around = int(np.ceil(max(8.0, 2 * cut["radius_mm"]) / min(before.spacing_mm)))
    box = bounding_box(removed, margin=around)
    assert box is not None
    start = np.array([part.start for part in box])
    local = cc3d.connected_components(np.ascontiguousarray(new[box]), connectivity=26)
    inverse = np.linalg.inv(before.affine)
    sides = [np.rint(inverse[:3, :3] @ p + inverse[:3, 3]).astype(int) for p in cut["sides_mm"]]
    near = [_pieces_at(local, side - start) for side in sides]
    whole = [_pieces_at(pieces, side) for side in sides]
    if not (near[0] & near[1] and whole[0] & whole[1]):
        return CutScore(cut["gap_mm"], cut["radius_mm"], False, 0.0, 0.0)
    # What belongs to other gaps is judged there.
    own = (truth[box] == 0) | removed[box]
    added = new[box] & ~old[box] & own
    dice, near_dice = overlap(added, removed[box])
    return CutScore(cut["gap_mm"], cut["radius_mm"], True, dice, near_dice)


def overlap(one: Mask, other: Mask) -> tuple[float, float]:
    """Dice, and Dice with a tolerance of one voxel: 26 neighbours count as met."""
    total = int(one.sum()) + int(other.sum())
    if total == 0:
        return 1.0, 1.0
    met = int((one & binary_dilation(other, _NEIGHBOURS)).sum())
    met += int((other & binary_dilation(one, _NEIGHBOURS)).sum())
    return 2 * int((one & other).sum()) / total, met / total


def _pieces_at(pieces: NDArray[Any], index: NDArray[np.int_]) -> set[int]:
    """Numbers of the components within a voxel of an index."""
    low = np.maximum(index - 1, 0)
    around = pieces[low[0] : index[0] + 2, low[1] : index[1] + 2, low[2] : index[2] + 2]
    return set(np.unique(around).tolist()) - {0}
