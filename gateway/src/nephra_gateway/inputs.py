"""A case's images, judged by their headers before any work starts."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from nephra_contract.errors import FileMissing, NephraError, PhasesApart
from nephra_contract.nifti_header import NiftiHeader, not_three_dimensional, read_header
from nephra_contract.paths import DataRoot
from nephra_contract.volume import orthonormal

#: Phases of one examination share most of what they show; less than this is another place.
MIN_OVERLAP = 0.05


def check_phases(data: DataRoot, phases: Mapping[str, str], max_voxels: int) -> list[str]:
    """Judge the images of a case; reads headers alone.

    Args:
        data: where they lie.
        phases: phase → path.
        max_voxels: the largest volume.

    Returns:
        Warnings.

    Raises:
        NephraError: a file that is missing, no NIfTI, or no patient geometry; `phase` names it.
        PhasesApart: two phases that show different parts of the world.
    """
    headers = {phase: _header(data, phase, path, max_voxels) for phase, path in phases.items()}
    boxes = {phase: bounds_mm(header) for phase, header in headers.items()}
    for one, other in combinations(boxes, 2):
        if overlap(boxes[one], boxes[other]) < MIN_OVERLAP:
            raise PhasesApart(
                f"The phases {one} and {other} do not overlap in space.",
                "Check that they are of one examination, and that their affines are right.",
                phases=[one, other],
            )
    return [
        f"The phases {one} and {other} are one file."
        for one, other in combinations(phases, 2)
        if data.file(phases[one]).samefile(data.file(phases[other]))
    ]


def bounds_mm(header: NiftiHeader) -> NDArray[np.float64]:
    """(2, 3): lowest and highest RAS+ mm of the grid's voxels, their full extent."""
    unit = np.array(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij")).reshape(3, 8).T
    indices = unit * np.array(header.shape) - 0.5
    world = indices @ header.affine[:3, :3].T + header.affine[:3, 3]
    return np.stack([world.min(axis=0), world.max(axis=0)])


def overlap(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The part (0..1) of the smaller box that lies in the larger one."""
    shared = np.minimum(one[1], other[1]) - np.maximum(one[0], other[0])
    if (shared <= 0).any():
        return 0.0
    smaller = min(np.prod(one[1] - one[0]), np.prod(other[1] - other[0]))
    return float(np.prod(shared) / smaller)


def _header(data: DataRoot, phase: str, path: str, max_voxels: int) -> NiftiHeader:
    try:
        header = _read(data, path, max_voxels)
        if min(header.shape) < 2:
            raise not_three_dimensional(header.shape)
        orthonormal(header.affine)
    except NephraError as error:
        error.extra.setdefault("phase", phase)
        error.extra.setdefault("member", f"phases.{phase}")
        raise
    return header


def _read(data: DataRoot, path: str, max_voxels: int) -> NiftiHeader:
    try:
        return read_header(data.file(path), max_voxels)
    except FileNotFoundError as error:
        raise FileMissing(f"The file '{path}' has gone.", "Upload it again.") from error
