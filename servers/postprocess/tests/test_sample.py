"""Promises of `postprocess/sample`."""

from __future__ import annotations

from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import cc3d
import numpy as np
import pytest

from nephra_contract import labels as names
from nephra_contract.errors import StructureMissing
from nephra_contract.nifti import read_labels
from nephra_contract.operation import Outcome
from nephra_contract.progress import Progress
from nephra_contract.sides import assign_sides
from nephra_contract.testing import ORIENTATIONS, OperationTests, anatomy
from nephra_contract.volume import LabelMap
from nephra_postprocess.atlas.template import packaged
from nephra_postprocess.operations.sample import OPERATION, Sample, sample


def _patient(keep: tuple[int, ...] = (2, 3, names.TUMOR)) -> LabelMap:
    """Kidneys and tumour of the made-up anatomy, somewhere else and larger."""
    whole = anatomy()
    affine = whole.affine.copy()
    affine[:3, :3] *= 1.1
    affine[:3, 3] += (4.0, 9.0, -30.0)
    return LabelMap(np.where(whole.mask(keep), whole.voxels, 0).astype(np.uint8), affine)


class TestSample(OperationTests):
    """The conformance suite, with a template of its own."""

    operation = OPERATION
    empty_error = StructureMissing
    parameters = {"grid_mm": 4.0}  # noqa: RUF012

    def inputs(self) -> list[Any]:
        """A patient's kidneys and tumour, and a whole anatomy."""
        return [_patient(), anatomy()]


class TestSampleHigh(OperationTests):
    """The same promises of the quality that bends, with one kidney."""

    operation = OPERATION
    empty_error = StructureMissing
    parameters = {"grid_mm": 4.0, "quality": "high"}  # noqa: RUF012
    # Each takes a second: every third, and those that reverse all axes. `fast` goes through all.
    orientations = ORIENTATIONS[::3] + ORIENTATIONS[7::8]

    def inputs(self) -> list[Any]:
        """A patient's right kidney, and a whole anatomy."""
        return [_patient(keep=(names.KIDNEY_RIGHT,)), anatomy()]


def _sample(labels: LabelMap, template: LabelMap | None = None) -> Outcome:
    return sample(labels, template or anatomy(), Sample(), Progress())


def _with_packaged(labels: LabelMap, quality: Literal["fast", "high"] = "fast") -> Outcome:
    return sample(labels, None, Sample(quality=quality), Progress())


def _two_kidneys(
    spacing_mm: tuple[float, float, float], tumour_mm: float = 0.0, shift_mm: float = 0.0
) -> LabelMap:
    """Two upright ellipsoids for kidneys, without a side, and a tumour below the right one."""
    shape = tuple(int(e / s) for e, s in zip((280.0, 160.0, 300.0), spacing_mm, strict=True))
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = (-140.0, -110.0, -150.0 + shift_mm)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    world = index * np.array(spacing_mm) + affine[:3, 3]
    voxels = np.zeros(shape, np.uint8)
    centre = np.array([0.0, -45.0, 60.0 + shift_mm])
    for side in (1, -1):
        middle = centre + np.array((side * 62.0, 0.0, 4.0 * side))
        voxels[(((world - middle) / (26.0, 21.0, 48.0)) ** 2).sum(axis=-1) <= 1] = names.KIDNEY
    if tumour_mm:
        middle = centre + np.array((45.0, 12.0, -50.0))
        voxels[((world - middle) ** 2).sum(axis=-1) <= tumour_mm**2] = names.TUMOR
    return LabelMap(voxels, affine)


def _pieces(labels: LabelMap, numbers: tuple[int, ...]) -> int:
    return int(cc3d.connected_components(labels.mask(numbers), connectivity=26).max())


def _is_whole(labels: LabelMap) -> bool:
    """Each ureter, and each tree of vessels, is there in one piece."""
    trees = (
        (names.URETER_RIGHT,),
        (names.URETER_LEFT,),
        names.group("artery"),
        names.group("vein"),
    )
    return all(_pieces(labels, tree) == 1 for tree in trees)


def test_the_patients_own_voxels_are_kept_exactly() -> None:
    """Kidneys and tumour are the patient's, to the voxel; the template adds none of its own."""
    patient = _patient()
    result = _sample(patient).value
    own = patient.voxels != 0
    np.testing.assert_array_equal(result.voxels[own], patient.voxels[own])
    assert {n: result.counts[n] for n in patient.counts} == patient.counts


def test_the_rest_of_the_anatomy_comes_with_the_kidneys() -> None:
    """All other structures of the template lie where the same shift and scale puts them."""
    truth, result = anatomy(), _sample(_patient()).value
    assert set(result.present) == set(truth.present) - {names.CYST}
    for number in (names.AORTA, names.INFERIOR_VENA_CAVA, names.numbers()["liver"]):
        same = (result.voxels == number) & (truth.voxels == number)
        assert 2 * same.sum() / (result.counts[number] + truth.counts[number]) > 0.8


def test_the_report_says_how_well_it_fits_and_that_it_is_synthetic() -> None:
    """Dice of the carried kidneys per side, no folds, and the word synthetic."""
    report = _sample(_patient()).report
    assert report["synthetic"] is True
    assert report["kidney_dice"]["right"] > 0.9
    assert report["kidney_dice"]["median"] > 0.9
    assert report["jacobian_min"] > 0


def test_one_kidney_is_enough() -> None:
    """After a nephrectomy the template follows the kidney that is left, and adds no other."""
    outcome = _sample(_patient(keep=(names.KIDNEY_RIGHT,)))
    assert names.KIDNEY_LEFT not in outcome.value.present
    assert names.AORTA in outcome.value.present
    assert set(outcome.report["kidney_dice"]) == {"median", "right"}
    assert outcome.report["jacobian_min"] > 0


def test_lesions_of_a_template_are_never_carried() -> None:
    """A template's tumour says nothing of a patient."""
    result = _sample(_patient(keep=(names.KIDNEY_RIGHT, names.KIDNEY_LEFT))).value
    assert not {names.TUMOR, names.CYST} & set(result.present)


def test_a_template_without_a_kidney_is_refused() -> None:
    """And so is one that has only the other side's."""
    whole = anatomy()
    for gone in ((2, 3), (2,)):
        template = whole.like(np.where(whole.mask(gone), 0, whole.voxels).astype(np.uint8))
        with pytest.raises(StructureMissing):
            _sample(_patient(keep=(names.KIDNEY_RIGHT,)), template)


def test_the_packaged_template_is_a_whole_anatomy() -> None:
    """Organs as voxels; vessels and urinary tract of both sides as centre lines; no lesion."""
    carried = packaged().structures
    for name in ("liver", "spleen", "spine", "ribs", "perirenal_fat", "kidney_left"):
        assert carried[name] == "voxels"
    for name in ("aorta", "inferior_vena_cava", "artery", "vein", "ureter_right", "ureter_left",
                 "renal_pelvis", "iliac_artery_left"):  # fmt: skip
        assert carried[name] == "centre line"
    assert not {"tumor", "cyst"} & set(carried)


def test_the_packaged_template_is_small() -> None:
    """It travels in every image."""
    folder = files("nephra_postprocess.atlas")
    names_ = ("template.nii.gz", "template_lines.json")
    assert sum(len(folder.joinpath(n).read_bytes()) for n in names_) < 400_000


@pytest.mark.parametrize("spacing_mm", [(2.5, 2.5, 2.5), (1.6, 1.6, 6.0), (5.0, 5.0, 5.0)])
def test_thin_structures_stay_whole_on_any_grid(spacing_mm: tuple[float, float, float]) -> None:
    """Vessels and ureters are redrawn: also where they are thinner than a voxel."""
    assert _is_whole(_with_packaged(_two_kidneys(spacing_mm)).value)


def test_a_ureter_is_led_around_a_tumour() -> None:
    """A large tumour where the ureter would run: it stays whole, the tumour as it is."""
    patient = _two_kidneys((2.5, 2.5, 2.5), tumour_mm=30.0)
    result = _with_packaged(patient).value
    assert result.counts[names.TUMOR] == patient.counts[names.TUMOR]
    assert _is_whole(result)


def test_thin_structures_of_a_users_template_stay_whole() -> None:
    """Their centre lines are found in its mask."""
    whole = anatomy()
    voxels = whole.voxels.copy()
    # The template's own gaps are closed first.
    for number, line in ((names.URETER_RIGHT, ((38, 0, -530), (34, 2, -560), (24, 6, -612))),):
        for start, stop in pairwise(np.array(line, dtype=float)):
            points = np.linspace(start, stop, 200)
            index = np.rint((points - whole.affine[:3, 3]) @ np.linalg.inv(whole.affine[:3, :3]).T)
            voxels[tuple(index.astype(int).T)] = number
    fine = _patient()
    result = _sample(fine, whole.like(voxels))
    assert result.report["structures"]["ureter_right"] == "centre line"
    assert _pieces(result.value, (names.URETER_RIGHT,)) == 1
    assert _pieces(result.value, (names.URETER_LEFT,)) == 1


def test_kidneys_without_a_side_keep_their_number() -> None:
    """The patient's own voxels are the patient's own, also in their numbers."""
    patient = _two_kidneys((4.0, 4.0, 4.0))
    outcome = _with_packaged(patient)
    own = patient.voxels != 0
    np.testing.assert_array_equal(outcome.value.voxels[own], patient.voxels[own])
    assert not {names.KIDNEY_RIGHT, names.KIDNEY_LEFT} & set(outcome.value.present)
    assert set(outcome.report["kidney_dice"]) == {"median", "right", "left"}


def test_high_fits_better_than_fast_and_folds_nothing() -> None:
    """What the deformable step is for."""
    patient = _two_kidneys((3.0, 3.0, 3.0))
    fast, high = (_with_packaged(patient, q).report for q in ("fast", "high"))
    assert high["kidney_dice"]["median"] > fast["kidney_dice"]["median"] + 0.02
    assert high["kidney_dice"]["median"] > 0.9
    assert min(high["jacobian_min"], fast["jacobian_min"]) > 0
    assert (fast["quality"], high["quality"]) == ("fast", "high")


def test_a_horseshoe_kidney_is_served_without_folds() -> None:
    """Joined below, it is parted at the midline; its voxels stay as they are."""
    patient = _two_kidneys((4.0, 4.0, 4.0))
    voxels = patient.voxels.copy()
    voxels[18:53, 14:19, 44:49] = names.KIDNEY
    outcome = _with_packaged(patient.like(voxels))
    assert outcome.report["jacobian_min"] > 0
    assert set(outcome.report["kidney_dice"]) == {"median", "right", "left"}
    assert outcome.value.counts[names.KIDNEY] == (voxels == names.KIDNEY).sum()


def test_kidneys_in_odd_places_are_served_without_folds() -> None:
    """Low kidneys, and a grid that holds little but them."""
    low = _two_kidneys((4.0, 4.0, 4.0), shift_mm=-160.0)
    for patient in (low, low.crop((slice(10, 60), slice(8, 26), slice(35, 66)))):
        report = _with_packaged(patient, "high").report
        assert report["jacobian_min"] > 0
        assert report["kidney_dice"]["median"] > 0.75


def test_odd_grids_are_served() -> None:
    """One slice, and a grid of 512 x 651: an answer each."""
    voxels = np.zeros((512, 651, 1), np.uint8)
    voxels[100:160, 300:350] = names.KIDNEY_LEFT
    voxels[330:390, 300:350] = names.KIDNEY_RIGHT
    for quality in ("fast", "high"):
        outcome = sample(
            LabelMap(voxels, np.diag([0.8, 0.8, 5.0, 1.0])), None,
            Sample.model_validate({"quality": quality}), Progress(),
        )  # fmt: skip
        assert (outcome.value.voxels[voxels > 0] == voxels[voxels > 0]).all()
        assert outcome.report["jacobian_min"] > 0


def test_a_template_that_does_not_fit_is_called_so() -> None:
    """Kidneys of quite another shape: the answer warns."""
    thin = _two_kidneys((4.0, 4.0, 4.0))
    voxels = np.where(np.arange(thin.shape[2]) % 4 == 0, thin.voxels, 0).astype(np.uint8)
    assert any("hardly fit" in w for w in _with_packaged(thin.like(voxels)).warnings)
    assert not any("hardly fit" in w for w in _with_packaged(thin).warnings)


def test_specks_of_a_kidney_are_refused() -> None:
    """Nothing can be laid over a voxel."""
    voxels = np.zeros((40, 40, 40), np.uint8)
    voxels[20, 20, 21] = names.KIDNEY_LEFT
    affine = np.diag([0.5, 0.5, 0.5, 1.0])
    with pytest.raises(StructureMissing):
        _with_packaged(LabelMap(voxels, affine))


@pytest.mark.real_data
@pytest.mark.parametrize("case", ["00061", "00110"])
def test_a_template_fits_real_kidneys(real_data: Path, case: str) -> None:
    """KiTS masks, stored (z, y, x): plain overlap of the carried kidneys and the patient's."""
    mask = read_labels(real_data / "masks" / "kits23" / f"case_{case}.nii.gz", "kits")
    for quality, least in (("fast", 0.8), ("high", 0.87)):
        outcome = sample(mask, None, Sample.model_validate({"quality": quality}), Progress())
        assert outcome.report["kidney_dice"]["median"] > least
        assert outcome.report["jacobian_min"] > 0
        assert _is_whole(outcome.value)


@pytest.mark.real_data
def test_a_real_patient_gets_a_whole_anatomy_the_right_way_up(real_data: Path) -> None:
    """A KiTS mask, stored (z, y, x): kidneys kept, spine behind them, bladder below."""
    path = real_data / "masks" / "kits23" / "case_00061.nii.gz"
    mask = assign_sides(read_labels(path, "kits"))
    outcome = sample(mask, None, Sample(grid_mm=3.0), Progress())
    result: LabelMap = outcome.value
    assert {n: result.counts[n] for n in mask.counts} == mask.counts
    assert outcome.report["kidney_dice"]["median"] > 0.7
    assert outcome.report["jacobian_min"] > 0

    def middle(number: int) -> np.ndarray[Any, Any]:
        return np.asarray(result.to_world(np.argwhere(result.voxels == number)).mean(axis=0))

    kidneys = (middle(names.KIDNEY_RIGHT) + middle(names.KIDNEY_LEFT)) / 2
    assert middle(names.KIDNEY_RIGHT)[0] > middle(names.AORTA)[0] > middle(names.KIDNEY_LEFT)[0]
    assert middle(names.SPINE)[1] < middle(names.AORTA)[1]
    assert middle(names.numbers()["liver"])[0] > kidneys[0]
