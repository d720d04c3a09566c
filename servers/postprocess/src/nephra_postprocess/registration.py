"""A template's kidneys brought over a patient's: one affine per kidney, blended smoothly.

Landmarks are the moments of each kidney: the affine that carries one Gaussian onto another with
the least displacement (Dowson and Landau 1982) needs no axes to be matched by sign. It is then
refined on the surfaces by iterated closest points (Besl and McKay 1992).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import edt
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Affine = NDArray[np.float64]
Points = NDArray[np.float64]

_ROUNDS = 30
_SURFACE_POINTS = 3000
#: (reach of a kidney's own affine in mm, share of the common one), tried until nothing folds.
_SOFTENING = ((25.0, 0.0), (40.0, 0.0), (40.0, 0.25), (60.0, 0.5), (60.0, 0.75), (60.0, 1.0))


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
    """(..., 3) points in mm through a (4, 4)."""
    return np.asarray(points @ affine[:3, :3].T + affine[:3, 3])


def inverse(affine: Affine) -> Affine:
    """The (4, 4) that leads back."""
    return np.asarray(np.linalg.inv(affine), dtype=np.float64)


@dataclass(frozen=True)
class Warp:
    """Where each point of the patient comes from in the template.

    Args:
        template_mm: (X, Y, Z, 3) float32 on the lattice.
        jacobian_min: smallest determinant of its derivative; above 0 nothing folds.
    """

    template_mm: NDArray[np.float32]
    jacobian_min: float


def blend(
    kidneys: Mapping[str, NDArray[np.bool_]],
    pulls: Mapping[str, Affine],
    common: Affine,
    lattice: Affine,
) -> Warp:
    """Blend the kidneys' affines by the distance from each, and check that nothing folds.

    Args:
        kidneys: by side, (X, Y, Z) where the patient's kidney is on the lattice.
        pulls: by side, (4, 4) patient mm → template mm.
        common: (4, 4) the same, for what is far from all kidneys.
        lattice: (4, 4) lattice index → patient mm.
    """
    spacing = tuple(np.linalg.norm(lattice[:3, :3], axis=0))
    distances_mm = {s: edt.edt(~mask, anisotropy=spacing) for s, mask in kidneys.items()}
    shape = next(iter(kidneys.values())).shape
    points = _lattice_points(lattice, shape)
    warp = Warp(np.zeros((0, 0, 0, 3), np.float32), -np.inf)
    for reach_mm, softness in _SOFTENING:
        soft = {s: (1 - softness) * a + softness * common for s, a in pulls.items()}
        template_mm = _mixed(points, distances_mm, soft, common, reach_mm)
        warp = Warp(template_mm, _jacobian_min(template_mm, lattice))
        if warp.jacobian_min > 0.05:
            break
    return warp


def _mixed(
    points: NDArray[np.float32],
    distances_mm: Mapping[str, NDArray[np.float32]],
    pulls: Mapping[str, Affine],
    common: Affine,
    reach_mm: float,
) -> NDArray[np.float32]:
    far = np.ones(points.shape[:3], dtype=np.float32)
    total = np.zeros(points.shape[:3], dtype=np.float32)
    mixed = np.zeros(points.shape, dtype=np.float32)
    for side, pull in pulls.items():
        near = np.exp(-((distances_mm[side] / reach_mm) ** 2)).astype(np.float32)
        far *= 1 - near
        total += near
        mixed += near[..., None] * apply(pull, points).astype(np.float32)
    total += far
    mixed += far[..., None] * apply(common, points).astype(np.float32)
    return np.asarray(mixed / total[..., None])


def _jacobian_min(template_mm: NDArray[np.float32], lattice: Affine) -> float:
    """Smallest determinant of d(template mm) / d(patient mm) over the lattice."""
    if min(template_mm.shape[:3]) < 2:
        return 1.0
    columns = [np.gradient(template_mm, axis=a) for a in range(3)]
    determinant = np.einsum("...i,...i->...", columns[0], np.cross(columns[1], columns[2]))
    return round(float(determinant.min() / np.linalg.det(lattice[:3, :3])), 4)


def _lattice_points(lattice: Affine, shape: tuple[int, ...]) -> NDArray[np.float32]:
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    return apply(lattice, grid).astype(np.float32)


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
