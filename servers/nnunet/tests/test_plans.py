from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nephra_contract.errors import BundleInvalid
from nephra_nnunet.architecture import read_architecture
from nephra_nnunet.plans import Resampling, read_plans


def _plans(tiny: Any, **members: Any) -> dict[str, Any]:
    """Plans with members of the file changed, or of its configuration where that has them."""
    plans: dict[str, Any] = tiny.plans()
    inner = plans["configurations"]["3d_fullres"]
    for name, value in members.items():
        (inner if name in inner else plans)[name] = value
    return plans


def _kwargs(**members: Any) -> dict[str, Any]:
    return {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None, **members}


@pytest.mark.parametrize(
    ("name", "configuration"),
    [
        ("flare23_plans.json", "3d_fullres"),
        ("flare23_plans.json", "3d_lowres"),
        ("neunet_BTCV_nnUNetPlans.json", "3d_lowres"),
        ("nextou_nnUNetPlans.json", "3d_fullres_nextou"),
        ("reconstructed_ts291_like_plans.json", "3d_fullres"),
        ("reconstructed_ts297_like_plans.json", "3d_fullres"),
    ],
)
def test_public_plans_are_understood(name: str, configuration: str, real_data: Path) -> None:
    """Each gives a patch that its network can halve as often as its strides ask."""
    document = json.loads((real_data / "plans" / name).read_text())
    plans = read_plans(document, configuration, 1)
    architecture = read_architecture(plans.network, 1, 5)
    assert all(n % d == 0 for n, d in zip(plans.patch, architecture.divisors(), strict=True))
    assert architecture.features[0] in {32, 33}


@pytest.mark.parametrize(
    ("name", "configuration", "said"),
    [
        ("flare23_plans.json", "2d", "2D networks"),
        ("flare23_plans.json", "3d_cascade_fullres", "cascade"),
        ("neunet_BTCV_nnUNetPlans.json", "3d_fullres", "'neUNet'"),
        ("neunet_BTCV_nnUNetPlans.json", "3d_best", "they hold: 2d, 3d_lowres"),
    ],
)
def test_public_plans_that_cannot_be_served_say_why(
    name: str, configuration: str, said: str, real_data: Path
) -> None:
    """2D, a cascade, a network of somebody's own."""
    document = json.loads((real_data / "plans" / name).read_text())
    with pytest.raises(BundleInvalid, match=said):
        read_architecture(read_plans(document, configuration, 1).network, 1, 5)


@pytest.mark.parametrize(
    ("reader", "reorients"),
    [
        ("SimpleITKIO", False),
        ("NibabelIO", False),
        ("NibabelIOWithReorient", True),
        ("SimpleITKIOWithReorient", True),
    ],
)
def test_the_reader_says_whether_images_are_turned(reader: str, reorients: bool, tiny: Any) -> None:
    """Networks that saw RAS images get RAS images."""
    plans = _plans(tiny, image_reader_writer=reader)
    assert read_plans(plans, "3d_fullres", 1).reorients is reorients


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"image_reader_writer": "Tiff3DIO"}, "reader 'Tiff3DIO'"),
        ({"label_manager": "OwnLabels"}, "label manager 'OwnLabels'"),
        ({"spacing": [0.0, 1.0, 1.0]}, "not all positive"),
        ({"spacing": [1.0, float("nan"), 1.0]}, "not all positive"),
        ({"spacing": [1.0, 1.0]}, "three axes"),
        ({"patch_size": [0, 16, 16]}, "not all positive"),
        ({"normalization_schemes": ["CTNormalization"] * 2}, "of other channels"),
        ({"resampling_fn_probabilities": "resample_torch_fornnunet"}, "resample_torch_fornnunet"),
        ({"resampling_fn_data": "no_resampling_hack"}, "no_resampling_hack"),
        ({"resampling_fn_probabilities_kwargs": _kwargs(order=3)}, "order 3"),
        ({"resampling_fn_probabilities_kwargs": _kwargs(order_z=2)}, "order_z 2"),
        ({"resampling_fn_probabilities_kwargs": {"is_seg": False}}, "order 3"),
        ({"resampling_fn_data_kwargs": _kwargs(order=6)}, "order 6"),
        ({"resampling_fn_data_kwargs": _kwargs(is_seg=True)}, "is_seg"),
        ({"resampling_fn_data_kwargs": _kwargs(mode="wrap")}, "mode"),
        ({"resampling_fn_data_kwargs": _kwargs(force_separate_z="often")}, "force_separate_z"),
        ({"resampling_fn_data_kwargs": _kwargs(separate_z_anisotropy_threshold=5)}, "threshold"),
        ({"resampling_fn_data_kwargs": None}, "of the kind"),
    ],
)
def test_steps_that_are_not_known_are_refused(
    members: dict[str, Any], said: str, tiny: Any
) -> None:
    """By name, with what would do."""
    with pytest.raises(BundleInvalid, match=said) as refused:
        read_plans(_plans(tiny, **members), "3d_fullres", 1)
    assert refused.value.action


def test_resampling_has_the_defaults_of_nnunets_function(tiny: Any) -> None:
    """A cubic spline, and no axis apart: what is called where plans name nothing."""
    plans = _plans(
        tiny,
        resampling_fn_data_kwargs={},
        resampling_fn_probabilities_kwargs=_kwargs(separate_z_anisotropy_threshold=3, order_z=1),
    )
    found = read_plans(plans, "3d_fullres", 1)
    assert found.image_resampling == Resampling(3, 0, apart=False)
    assert found.logits_resampling == Resampling(1, 1, apart=None)


def test_intensities_may_have_the_old_name(tiny: Any) -> None:
    """`foreground_intensity_properties_by_modality` was written by the first version."""
    plans = tiny.plans()
    values = plans.pop("foreground_intensity_properties_per_channel")
    plans["foreground_intensity_properties_by_modality"] = values
    (how,) = read_plans(plans, "3d_fullres", 1).normalisation
    assert (how.mean, how.low, how.high) == (60.0, -300.0, 400.0)


@pytest.mark.parametrize("name", ["mean", "percentile_99_5"])
def test_intensities_that_are_not_numbers_are_refused(name: str, tiny: Any) -> None:
    """JSON written by Python may hold NaN."""
    plans = tiny.plans()
    plans["foreground_intensity_properties_per_channel"]["0"][name] = float("nan")
    with pytest.raises(BundleInvalid, match="not numbers"):
        read_plans(plans, "3d_fullres", 1)


def test_a_custom_spacing_is_taken_as_it_stands(tiny: Any) -> None:
    """Transposed and anisotropic, as a planner was told."""
    plans = tiny.plans(spacing=(4.5, 0.7, 0.9), transpose=(2, 0, 1))
    found = read_plans(plans, "3d_fullres", 1)
    assert (found.spacing_mm, found.transpose) == ((4.5, 0.7, 0.9), (2, 0, 1))
