"""Where bridges are drawn, and what they keep out of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from nephra_contract import labels as names
from nephra_contract.volume import LabelMap
from nephra_postprocess.structures import Tree
from nephra_postprocess.tubes.bridges import Bridge
from nephra_postprocess.tubes.detours import find_detour
from nephra_postprocess.tubes.fragments import Fragments
from nephra_postprocess.tubes.stones import Stones
from nephra_postprocess.tubes.strokes import Box, box_around, draw, path_mm
from nephra_postprocess.tubes.voxels import flat

#: Groups that a bridge may run through: what merging would paint over, too.
_SOFT_GROUPS = ("fat", "organ", "muscle", "kidney")
_NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)
#: What bridges see at a voxel.
FREE, BLOCKED, OWN, OTHER, SPECK = range(5)


@dataclass(frozen=True)
class Stroke:
    """What a bridge added: its label, and in a box of the volume the new voxels."""

    label: int
    box: Box
    new: NDArray[np.bool_]


class Canvas:
    """A label map that bridges of one tree are drawn into.

    Args:
        patient: axes along right, front, head; what is there.
        target: (X, Y, Z) voxels of the same grid, written into.
        tree: its labels.
        fragments: its pieces.
        stones: those that a bridge may run through.
    """

    def __init__(
        self,
        patient: LabelMap,
        target: NDArray[Any],
        tree: Tree,
        fragments: Fragments,
        stones: Stones,
    ) -> None:
        self.patient = patient
        self.target = target
        self.fragments = fragments
        self.inverse: NDArray[np.float64] = np.asarray(
            np.linalg.inv(fragments.linear), dtype=np.float64
        )
        self.step_mm = float(min(patient.spacing_mm))
        self.paths: dict[Bridge, NDArray[np.float64]] = {}
        self.blocked: set[Bridge] = set()
        self.around: set[Bridge] = set()
        self.soft = np.zeros(256, dtype=bool)
        self.soft[[0, *(n for g in _SOFT_GROUPS for n in names.group(g))]] = True
        self.own = np.zeros(256, dtype=bool)
        self.own[list(tree.numbers)] = True
        self.blobs = stones.pieces
        self.stones = np.zeros(max(fragments.count, 1), dtype=bool)
        self.stones[list(stones.pieces)] = True
        self._keys = flat(fragments.indices, patient.shape)

    def passable(self, bridge: Bridge) -> bool:
        """Whether a bridge can be drawn, straight or around what is in its way."""
        path = path_mm(bridge, self.step_mm)
        if not self._clear(path, bridge):
            detour = self._around(path, bridge)
            if detour is None:
                self.blocked.add(bridge)
                return False
            path = detour
            self.around.add(bridge)
        self.paths[bridge] = path
        return True

    def paint(self, bridge: Bridge) -> Stroke:
        """Draw a bridge with its first end's label."""
        path = self.paths[bridge]
        box, inside = draw(path, bridge.radii_mm, self.fragments.linear, self.patient.shape)
        seen = self.look(box, bridge)
        on_path = self.on_path(path, box)
        # Others stay apart: not even their neighbours are painted, but for specks on the way.
        apart = (seen == OTHER) | ((seen == SPECK) & ~self._hit(seen == SPECK, on_path))
        new = inside & (seen == FREE) & (~binary_dilation(apart, _NEIGHBOURS) | on_path)
        label = int(self.patient.voxels[tuple(bridge.index)])
        self.target[box][new] = label
        return Stroke(label, box, new)

    def look(self, box: Box, bridge: Bridge) -> NDArray[np.uint8]:
        """What a bridge sees in a box: `FREE`, `BLOCKED`, `OWN`, `OTHER` or `SPECK`."""
        # Bridges drawn before are in the target; what they run through is not free any more.
        labels = self.target[box]
        seen = np.where(self.soft[labels], FREE, BLOCKED).astype(np.uint8)
        tree = np.argwhere(self.own[labels])
        if len(tree):
            index = tree + [part.start for part in box]
            keys = flat(index, self.patient.shape)
            at = np.minimum(np.searchsorted(self._keys, keys), max(self._keys.size - 1, 0))
            known = self._keys[at] == keys if self._keys.size else np.zeros(len(keys), bool)
            pieces = np.where(known, self.fragments.piece[at] if self._keys.size else -1, -1)
            stones = (pieces < 0) | self.stones[pieces]
            kind = np.where(stones, SPECK, OTHER).astype(np.uint8)
            kind[np.isin(pieces, bridge.pieces)] = OWN
            seen[tuple(tree.T)] = kind
        return seen

    def on_path(self, path: NDArray[np.float64], box: Box) -> NDArray[np.bool_]:
        """The voxels of a box that a path runs through."""
        index = np.floor(np.round(path @ self.inverse.T, 6) + 0.5).astype(int)
        index -= [part.start for part in box]
        found = np.zeros([part.stop - part.start for part in box], dtype=bool)
        there = ((index >= 0) & (index < found.shape)).all(axis=1)
        found[tuple(index[there].T)] = True
        return found

    def _around(self, path: NDArray[np.float64], bridge: Bridge) -> NDArray[np.float64] | None:
        """A path around what lies in the way of another."""
        radius_mm = max(bridge.radii_mm)
        margin_mm = 6.0 + 2 * radius_mm + 0.3 * bridge.length_mm
        box = box_around(path, margin_mm, self.inverse, self.patient.shape)
        seen = self.look(box, bridge)
        first = np.array([part.start for part in box])
        blocked = (seen == BLOCKED) | (seen == OTHER)
        detour = find_detour(blocked, first, self.fragments.linear, path, radius_mm)
        return detour if detour is not None and self._clear(detour, bridge) else None

    def _clear(self, path: NDArray[np.float64], bridge: Bridge) -> bool:
        """Whether a path's centre line keeps out of what must not be painted over."""
        index = np.floor(np.round(path @ self.inverse.T, 6) + 0.5).astype(int)
        index = np.clip(index, 0, np.array(self.patient.shape) - 1)
        low, high = index.min(axis=0), index.max(axis=0) + 1
        box = (slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2]))
        seen = self.look(box, bridge)[tuple((index - low).T)]
        return not bool(np.isin(seen, (BLOCKED, OTHER)).any())

    def _hit(self, specks: NDArray[np.bool_], on_path: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The specks that a path runs through: two ends support them."""
        if not specks.any():
            return specks
        pieces = cc3d.connected_components(specks, connectivity=26)
        wanted = np.unique(pieces[on_path & specks])
        return np.isin(pieces, wanted[wanted > 0])
