"""A template's kidneys brought over a patient's: one affine per kidney, blended smoothly.

Landmarks are the moments of each kidney: the affine that carries one Gaussian onto another with
the least displacement (Dowson and Landau 1982) needs no axes to be matched by sign. It is then
refined on the surfaces by iterated closest points (Besl and McKay 1992).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Affine = NDArray[np.float64]
Points = NDArray[np.float64]

_ROUNDS = 30
_SURFACE_POINTS = 3000


def fit_affine(moving: Points, fixed: Points) -> Affine:
    """The affine that lays one kidney over another.

    Args:
        moving: (N, 3) mm, all voxels of the template's kidney.
        fixed: (M, 3) mm, all voxels of the patient's.

    Returns:
        (4, 4) template mm → patient mm, never mirrored.
    """
    affine = _moments_affine(moving, fixed)
    surface, goal = _surface(moving), _surface(fixed)
    if min(len(surface), len(goal)) < 50:
        return affine
    tree = cKDTree(goal)
    for _ in range(_ROUNDS):
        moved = apply(affine, surface)
        out_mm, nearest = tree.query(moved)
        back_mm, nearest_back = cKDTree(moved).query(goal)
        kept = out_mm <= np.quantile(out_mm, 0.9)
        kept_back = back_mm <= np.quantile(back_mm, 0.9)
        source = np.concatenate([surface[kept], surface[nearest_back[kept_back]]])
        target = np.concatenate([goal[nearest[kept]], goal[kept_back]])
        better = _least_squares(source, target)
        if np.linalg.det(better[:3, :3]) < 0.2 * np.linalg.det(affine[:3, :3]):
            return affine
        change_mm = float(np.abs(apply(better, surface) - moved).max())
        affine = better
        if change_mm < 0.05:
            break
    return affine


def fit_common(pairs: list[tuple[Affine, Points]]) -> Affine:
    """Scale and shift that fit all kidneys: what is far from them is carried by it.

    No rotation: kidneys are tilted in a patient who is not.

    Args:
        pairs: for each kidney its affine and the template's points, in mm.
    """
    moving = np.concatenate([_sparse(p, 500) for _, p in pairs])
    fixed = np.concatenate([apply(a, _sparse(p, 500)) for a, p in pairs])
    centred, goal = moving - moving.mean(axis=0), fixed - fixed.mean(axis=0)
    if len(pairs) == 1:
        volume_ratio = np.linalg.det(pairs[0][0][:3, :3])
        scale = float(np.clip(volume_ratio, 0.3, 3.0) ** (1 / 3))
    else:
        scale = float(np.clip((centred * goal).sum() / (centred**2).sum(), 0.7, 1.4))
    common = np.diag([scale, scale, scale, 1.0])
    common[:3, 3] = fixed.mean(axis=0) - scale * moving.mean(axis=0)
    return common


def apply(affine: Affine, points: NDArray[Any]) -> Points:
    """(..., 3) points in mm through a (4, 4); float32 stays float32."""
    matrix = affine.astype(points.dtype) if points.dtype == np.float32 else affine
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])


def inverse(affine: Affine) -> Affine:
    """The (4, 4) that leads back."""
    return np.asarray(np.linalg.inv(affine), dtype=np.float64)


def _moments_affine(moving: Points, fixed: Points) -> Affine:
    """Least-displacement affine between the Gaussians of two point sets."""
    a, b = np.cov(moving.T), np.cov(fixed.T)
    root = _power(a, 0.5)
    inverse = _power(a, -0.5)
    affine = np.eye(4)
    affine[:3, :3] = inverse @ _power(root @ b @ root, 0.5) @ inverse
    affine[:3, 3] = fixed.mean(axis=0) - affine[:3, :3] @ moving.mean(axis=0)
    return affine


def _power(matrix: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    values, vectors = np.linalg.eigh(matrix)
    # A kidney of one slice has no extent across it; an extent of 1 mm keeps the map finite.
    return np.asarray((vectors * np.maximum(values, 1.0) ** exponent) @ vectors.T)


def _least_squares(source: Points, target: Points) -> Affine:
    """Affine of least squares, held to the identity's directions where points say nothing."""
    centre = source.mean(axis=0)
    centred = source - centre
    ridge = 1e-3 * np.eye(3) * len(source)
    linear = np.linalg.solve(
        centred.T @ centred + ridge, centred.T @ (target - target.mean(axis=0)) + ridge
    ).T
    affine = np.eye(4)
    affine[:3, :3] = linear
    affine[:3, 3] = target.mean(axis=0) - linear @ centre
    return affine


def _surface(points: Points) -> Points:
    """Up to a few thousand points of a filled region that have fewer neighbours than most."""
    tree = cKDTree(points)
    spacing_mm = float(np.median(tree.query(points[:: max(len(points) // 200, 1)], k=2)[0][:, 1]))
    counts = tree.query_ball_point(points, 1.8 * spacing_mm, return_length=True)
    return _sparse(points[counts < 0.85 * counts.max()], _SURFACE_POINTS)


def _sparse(points: Points, most: int) -> Points:
    return points[:: max(len(points) // most, 1)]
