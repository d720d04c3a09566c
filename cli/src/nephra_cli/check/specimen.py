"""The synthetic patient that an installation is given, and what is true of it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from nephra_contract import labels as names
from nephra_contract.errors import Unavailable
from nephra_contract.volume import LabelMap, Volume

#: No seed that the demo models were trained on.
_SEED = 90_011
#: Coarse, so that a check is a matter of seconds.
_SHAPE, _SPACING_MM = (112, 96, 96), 3.1
#: Around the ureter, which is as thin as a voxel of the coarse grid.
_FINE_MM, _MARGIN_MM = 1.0, 12.0
#: As long as one wave of peristalsis leaves it empty.
_GAP_MM = 10.0
#: What surfaces are made of: organs and a vessel, small and large.
_SHOWN = ("kidney_right", "kidney_left", "liver", "aorta")


@dataclass(frozen=True)
class Severed:
    """A mask with a tube that was cut, and the tube as it was.

    Args:
        mask: with the gap.
        whole: without.
        number: of the tube.
    """

    mask: LabelMap
    whole: LabelMap
    number: int


class Specimen:
    """A phantom's image and masks.

    Raises:
        Unavailable: the phantom is not installed.
    """

    def __init__(self) -> None:
        if importlib.util.find_spec("nephra_phantom") is None:
            raise Unavailable(
                "The check needs a package that is not installed: nephra_phantom.",
                "Install it with `pip install nephra-cli[check]`.",
                code="check_missing",
            )
        from nephra_phantom import Phantom, centred

        self._phantom: Any = Phantom(_SEED)
        self._grid: Any = centred(_SHAPE, (_SPACING_MM,) * 3)

    @cached_property
    def image(self) -> Volume:
        """A CT in the arterial phase, in HU."""
        image: Volume = self._phantom.volume("A", self._grid)
        return image

    @cached_property
    def truth(self) -> LabelMap:
        """What the image shows."""
        truth: LabelMap = self._phantom.labels(self._grid, "A")
        return truth

    @cached_property
    def bare(self) -> LabelMap:
        """The truth without fat."""
        fat = (names.PERIRENAL_FAT, names.SUBCUTANEOUS_FAT)
        return self.truth.like(np.where(self.truth.mask(fat), 0, self.truth.voxels))

    @cached_property
    def organs(self) -> LabelMap:
        """A few structures of the truth."""
        shown = [names.numbers()[name] for name in _SHOWN]
        return self.truth.like(np.where(self.truth.mask(shown), self.truth.voxels, 0))

    @cached_property
    def ureter(self) -> Severed:
        """A ureter on a fine grid around it, cut through half way down."""
        from nephra_phantom import Grid

        tubes = self._phantom.centerlines()["ureter_left"]
        points = np.concatenate([tube.points for tube in tubes])
        low, high = points.min(axis=0) - _MARGIN_MM, points.max(axis=0) + _MARGIN_MM
        affine = np.diag([_FINE_MM, _FINE_MM, _FINE_MM, 1.0])
        affine[:3, 3] = low
        i, j, k = (int(n) for n in np.ceil((high - low) / _FINE_MM))
        whole: LabelMap = self._phantom.labels(Grid((i, j, k), affine), "A")
        number = names.URETER_LEFT
        z_mm = whole.to_world(np.argwhere(whole.mask((number,))))[:, 2]
        cut = np.abs(np.arange(k) * _FINE_MM + low[2] - np.median(z_mm)) < _GAP_MM / 2
        gone = whole.mask((number,)) & cut[None, None, :]
        return Severed(whole.like(np.where(gone, 0, whole.voxels)), whole, number)
