from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from nephra_contract.progress import Progress
from nephra_contract.volume import Volume
from nephra_nnunet.cache import ByteCache
from nephra_nnunet.normalisation import measure
from nephra_nnunet.orientation import AS_STORED, axes_towards
from nephra_nnunet.plans import Plans, read_plans
from nephra_nnunet.preparation import Image, Preparations, nonzero_box, nonzero_mask


def _plans(tiny: Any, masked: bool = False, **asked: Any) -> Plans:
    document = tiny.plans(**asked)
    document["configurations"]["3d_fullres"]["use_mask_for_norm"] = [masked]
    return read_plans(document, "3d_fullres", 1)


def _normalised(values: NDArray[Any], plans: Plans, masked: bool) -> NDArray[np.float64]:
    how = plans.normalisation[0]
    x = values.astype(np.float64)
    if how.scheme == "CTNormalization":
        return (x.clip(how.low, how.high) - how.mean) / how.std
    if how.scheme == "RescaleTo01Normalization":
        return np.asarray((x - x.min()) / (x.max() - x.min()))
    if how.scheme == "NoNormalization":
        return x
    inside = nonzero_mask([values]) if masked else np.ones(values.shape, bool)
    x[inside] = (x[inside] - x[inside].mean()) / x[inside].std()
    return x


def _stock(values: NDArray[Any], plans: Plans, masked: bool) -> NDArray[np.float64]:
    """nnU-Net's steps written out: (k, j, i) values of the box → the network's input."""
    x = _normalised(values, plans, masked)
    spacing = np.array([3.0, 2.0, 2.0])[list(plans.transpose)]
    target = np.array(plans.spacing_mm)
    shape = [round(n * s / t) for n, s, t in zip(x.shape, spacing, target, strict=True)]
    factors = [n / o for n, o in zip(shape, x.shape, strict=True)]
    made = ndimage.zoom(x, factors, order=3, mode="nearest", grid_mode=True)
    return np.asarray(made.clip(x.min(), x.max()))


@pytest.mark.parametrize(
    ("scheme", "masked"),
    [
        ("CTNormalization", False),
        ("ZScoreNormalization", False),
        ("ZScoreNormalization", True),
        ("RescaleTo01Normalization", False),
        ("NoNormalization", False),
    ],
)
@pytest.mark.parametrize("transpose", [(0, 1, 2), (2, 0, 1)])
def test_an_image_is_prepared_as_in_training(
    scheme: str, masked: bool, transpose: tuple[int, int, int], tiny: Any
) -> None:
    """Slab by slab with matrices gives what the whole volume with SciPy gives."""
    plans = _plans(tiny, masked, scheme=scheme, transpose=transpose, spacing=(2.7, 3.3, 3.9))
    image = tiny.ct()
    image.voxels[:4] = 0
    made = Preparations(ByteCache(2**24))
    frame = made.frame([Image(image, "ct")], plans, None)
    prepared = made.prepare([Image(image, "ct")], frame, plans, Progress())
    values = image.voxels[4:].T.transpose(transpose)
    expected = _stock(values, plans, masked)
    assert prepared.shape[1:] == expected.shape
    assert np.abs(prepared[0] - expected).max() < 1e-4 * max(1, np.abs(expected).max())


def test_a_coarse_axis_is_prepared_slice_by_slice(tiny: Any) -> None:
    """Thick slices: splines within them, each within its own range, nearest between them."""
    plans = _plans(tiny, scheme="NoNormalization", spacing=(2.0, 2.0, 2.0))
    image = tiny.ct((20, 22, 7), (1.5, 1.5, 8.0))
    made = Preparations(ByteCache(2**24))
    frame = made.frame([Image(image, "ct")], plans, None)
    prepared = made.prepare([Image(image, "ct")], frame, plans, Progress())[0]
    slices = []
    for plane in image.voxels.T.astype(np.float64):
        factors = [16 / 22, 15 / 20]
        zoomed = ndimage.zoom(plane, factors, order=3, mode="nearest", grid_mode=True)
        slices.append(zoomed.clip(plane.min(), plane.max()))
    nearest = [round((n + 0.5) * 7 / 28 - 0.5) for n in range(28)]
    assert np.abs(prepared - np.stack(slices)[nearest]).max() < 0.05


def test_the_same_wish_is_fulfilled_once(tiny: Any) -> None:
    """Equal image, spacing and normalisation share; anything else does not."""
    made = Preparations(ByteCache(2**24))
    image = Image(tiny.ct(), "ct")

    def prepare(plans: Plans, what: Image = image) -> NDArray[np.float32]:
        frame = made.frame([what], plans, None)
        return made.prepare([what], frame, plans, Progress())

    first = prepare(_plans(tiny))
    assert np.array_equal(prepare(_plans(tiny, patch=(8, 8, 8))), first)
    assert made.made == 1
    prepare(_plans(tiny, spacing=(4, 4, 4)))
    prepare(_plans(tiny, scheme="ZScoreNormalization"))
    prepare(_plans(tiny), Image(tiny.ct(seed=1), "other"))
    assert made.made == 4


def test_labels_come_back_to_where_the_image_was(tiny: Any) -> None:
    """A label painted in the network's view lies on the voxels that it was painted from."""
    plans = _plans(tiny, transpose=(1, 2, 0))
    image = tiny.ct()
    image.voxels[:, :5] = 0
    frame = Preparations(ByteCache(2**24)).frame([Image(image, "ct")], plans, "LPS")
    view = frame.axes.view(image.voxels)[frame.box]
    restored = np.zeros(image.shape, np.uint8)
    frame.view(restored)[...] = view > 150
    assert np.array_equal(restored, (image.voxels > 150))


def test_the_next_request_finds_what_this_one_prepared(tiny: Any) -> None:
    """Within the budget; what does not fit is prepared again, and shared with the model after."""
    image = Image(tiny.ct(), "ct")
    plans, coarser = _plans(tiny), _plans(tiny, spacing=(4, 4, 4))
    for budget, expected in ((2**24, [1, 1, 0, 0]), (0, [1, 1, 1, 1])):
        cache = ByteCache(budget)
        made = []
        for wanted in (plans, coarser) * 2:
            request = Preparations(cache)
            frame = request.frame([image], wanted, None)
            request.prepare([image], frame, wanted, Progress())
            request.prepare([image], frame, wanted, Progress())
            made.append(request.made)
        assert made == expected


@pytest.mark.parametrize("code", ["RAS", "LPS", "SAR", "PIR"])
def test_axes_run_towards_the_named_directions(code: str) -> None:
    """Moving along a view's axis moves towards its direction in the patient."""
    affine = np.array([[0, 0, -2.0, 9], [1.5, 0, 0, 3], [0, -1, 0, 5], [0, 0, 0, 1]])
    index = np.stack(np.meshgrid(*(np.arange(n) for n in (3, 4, 5)), indexing="ij"), axis=-1)
    world = index @ affine[:3, :3].T
    axes = axes_towards(affine, code)
    views = [axes.view(world[..., a]) for a in range(3)]
    for axis, letter in enumerate(code):
        place, sign = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1),
                       "I": (2, -1)}[letter]  # fmt: skip
        assert (np.diff(views[place], axis=axis) * sign > 0).all()


def test_all_zero_images_are_taken_whole() -> None:
    """There is no box around nothing."""
    assert nonzero_box([np.zeros((3, 4, 5))]) == (slice(0, 3), slice(0, 4), slice(0, 5))
    assert AS_STORED.view(np.zeros((3, 4, 5))).shape == (3, 4, 5)


def test_flat_images_are_not_divided_by_zero(tiny: Any) -> None:
    """A constant image has no spread."""
    for scheme in ("ZScoreNormalization", "RescaleTo01Normalization"):
        how = _plans(tiny, scheme=scheme).normalisation[0]
        flat = np.full((3, 3, 3), 7)
        assert np.isfinite(measure(flat, how).apply(flat)).all()


def test_preparing_does_not_touch_the_image(tiny: Any) -> None:
    """Several models look at the same voxels."""
    plans = _plans(tiny)
    image: Volume = tiny.ct()
    before = image.voxels.copy()
    made = Preparations(ByteCache(2**24))
    frame = made.frame([Image(image, "ct")], plans, None)
    made.prepare([Image(image, "ct")], frame, plans, Progress())
    assert np.array_equal(image.voxels, before)
