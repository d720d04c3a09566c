"""How likely two ends are of one vessel, by what is seen at them.

A logistic model: how far each end lies from where the other's course leads (a Gaussian that
widens with the gap, for directions err and vessels bend, thin ones more), how they face, their
calibres, the gap, and how much tube speaks for it. Its coefficients were fitted on drawn vascular
trees and phantoms, severed at known places among noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nephra_postprocess.tubes.ends import End

Vector = NDArray[np.float64]

#: Coefficients of the logistic model.
_BASE, _COURSE, _FACING, _CALIBRE, _GAP_PER_MM = 7.3, -2.5, -0.3, -0.93, -0.63
_SUPPORT, _SHORT, _RADIUS = 0.9, -5.0, 5.3
#: Pieces are short below this; calibres are told apart between these radii.
_SHORT_MM = 15.0
_RADII_MM = (0.7, 4.0)
#: Standard deviations: of a tip, of a direction, of a vessel's bend, of a calibre.
_TIP_MM, _TIP_RADII = 0.4, 0.1
_DIRECTION = 0.17
_BEND, _BEND_MM = 0.2, 0.7
_FACING_DEG, _FACING_BEND = 15.0, 0.09
_LOG_CALIBRE = 0.15
#: Wide vessels are flat and uneven, not round: per mm of radius over this, all of it errs more.
_ROUND_MM = 4.0
_UNEVEN_TIP, _UNEVEN_DIRECTION, _UNEVEN_BEHIND = 0.6, 0.05, 0.5
_UNEVEN_DEG, _UNEVEN_CALIBRE = 2.5, 0.03
#: A bridge to a side has but one end that speaks for it.
_SIDE = 3.0


def odds_of(one: End, other: End, volumes_mm3: NDArray[np.float64], empty_mm: float) -> float:
    """The odds that two ends are of one vessel, by the logistic model.

    Args:
        one, other: the ends.
        volumes_mm3: by piece.
        empty_mm: the gap between them, less what blobs on the way fill of it.
    """
    gap_mm = float(np.linalg.norm(other.tip_mm - one.tip_mm))
    radius_mm = float(np.sqrt(one.radius_mm * other.radius_mm))
    miss = miss_of(one, other.tip_mm) + miss_of(other, one.tip_mm)
    turn_deg = np.degrees(np.arccos(np.clip(-one.outward @ other.outward, -1, 1)))
    bent_deg = np.degrees(_FACING_BEND / (radius_mm + _BEND_MM) * gap_mm)
    over_mm = max(0.0, radius_mm - _ROUND_MM)
    facing = turn_deg**2 / ((_FACING_DEG + _UNEVEN_DEG * over_mm) ** 2 + bent_deg**2)
    usual = _LOG_CALIBRE + _UNEVEN_CALIBRE * over_mm
    calibre = np.log(one.radius_mm / other.radius_mm) / usual
    length_mm = min(_length_mm(e, volumes_mm3) for e in (one, other))
    logit = (
        _BASE
        + _COURSE * (np.sqrt(1 + miss) - 1)
        + _FACING * (np.sqrt(1 + facing) - 1)
        + _CALIBRE * (np.sqrt(1 + calibre**2) - 1)
        + _GAP_PER_MM * empty_mm
        + _SUPPORT * np.log1p(min(one.support_mm, other.support_mm))
        + _SHORT * max(0.0, 1 - length_mm / _SHORT_MM)
        + _RADIUS * np.log(np.clip(radius_mm, *_RADII_MM))
    )
    return float(np.exp(np.clip(np.round(logit, 6), -30, 30)))


def _length_mm(end: End, volumes_mm3: NDArray[np.float64]) -> float:
    """Length of a tube of an end's calibre with its piece's volume."""
    return float(volumes_mm3[end.piece] / (np.pi * end.radius_mm**2))


def miss_of(end: End, target_mm: Vector) -> float:
    """Squared distance of a point from where an end's course leads, in standard deviations."""
    way = target_mm - end.tip_mm
    gap_mm = float(np.linalg.norm(way))
    led = end.outward * gap_mm + 0.5 * end.bend_per_mm * gap_mm**2
    away = way - led
    across = away - (away @ end.outward) * end.outward
    over_mm = max(0.0, end.radius_mm - _ROUND_MM)
    tip_mm = _TIP_MM + _TIP_RADII * end.radius_mm + _UNEVEN_TIP * over_mm
    direction = _DIRECTION + _UNEVEN_DIRECTION * over_mm
    bend = 0.5 * _BEND / (end.radius_mm + _BEND_MM) * gap_mm**2
    variance = tip_mm**2 + (direction * gap_mm) ** 2 + bend**2
    hidden_mm = 0.3 * end.radius_mm + _UNEVEN_BEHIND * over_mm
    behind_mm = max(0.0, -float(way @ end.outward) - hidden_mm)
    return float(across @ across) / variance + (behind_mm / tip_mm) ** 2


def odds_of_side(end: End, target_mm: Vector) -> float:
    """The odds that an end belongs to the wall of another tube, at a point of that."""
    gap_mm = float(np.linalg.norm(target_mm - end.tip_mm))
    miss = np.sqrt(1 + miss_of(end, target_mm)) - 1
    logit = _SIDE + 2 * _COURSE * miss + 0.5 * _GAP_PER_MM * gap_mm
    return float(np.exp(np.clip(np.round(logit, 6), -30, 30)))
