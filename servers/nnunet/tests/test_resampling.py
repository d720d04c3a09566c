from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from nephra_nnunet.plans import Resampling
from nephra_nnunet.resampling import coarse_axis, matrix, new_shape, operators


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("new", [(7, 9, 11), (30, 25, 20), (13, 40, 16)])
def test_three_matrices_do_what_a_spline_in_space_does(
    order: int, new: tuple[int, int, int]
) -> None:
    """The product of the axes' matrices is SciPy's zoom of the whole volume."""
    image = np.random.default_rng(0).standard_normal((13, 20, 16))
    factors = [n / o for n, o in zip(new, image.shape, strict=True)]
    expected = ndimage.zoom(image, factors, order=order, mode="nearest", grid_mode=True)
    first, second, third = (matrix(o, n, order) for o, n in zip(image.shape, new, strict=True))
    made = np.einsum("ia,jb,kc,abc->ijk", first, second, third, image, optimize=True)
    assert np.abs(made - expected).max() < 1e-5


def test_constants_stay_constant() -> None:
    """Each row sums to one."""
    for order in (0, 1, 3):
        assert np.allclose(matrix(17, 40, order).sum(axis=1), 1, atol=1e-6)


def test_tails_of_splines_are_cut() -> None:
    """A matrix of a long axis is mostly zeros: no denormals slow products down."""
    weights = matrix(400, 200, 3)
    assert (weights[weights != 0] ** 2 > 1e-18).all()
    assert np.count_nonzero(weights) < 0.15 * weights.size


@pytest.mark.parametrize(
    ("spacing", "target", "axis"),
    [
        ((1, 1, 1), (3, 3, 3), None),
        ((5, 0.9, 0.9), (1.5, 1.5, 1.5), 0),
        ((1, 1, 1), (1, 1, 3.5), 2),
        ((3.0, 1, 1), (1, 1, 1), None),
        ((0.24, 1.25, 1.25), (1, 1, 1), None),
    ],
)
def test_a_coarse_axis_is_resampled_apart(
    spacing: tuple[float, float, float], target: tuple[float, float, float], axis: int | None
) -> None:
    """nnU-Net's rule: beyond a ratio of three, and only if one axis alone is the coarsest."""
    assert coarse_axis(spacing, target, None) == axis
    assert coarse_axis(spacing, target, apart=False) is None


def test_the_coarse_axis_takes_the_nearest_slice() -> None:
    """Its matrix picks one slice for each."""
    ways = operators((4, 9, 9), (13, 6, 6), (5, 1, 1), (1.5, 1.5, 1.5), Resampling(3, 0, None))
    assert ways.apart == 0
    assert np.array_equal(np.count_nonzero(ways.matrices[0], axis=1), np.ones(13))


def test_shapes_are_rounded_as_stock_does() -> None:
    """Half is rounded to even."""
    assert new_shape((5, 7, 10), (1, 1, 1), (2, 2, 3)) == (2, 4, 3)
