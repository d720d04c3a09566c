"""Promises of `postprocess/sample`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
from nephra_postprocess.operations.sample import OPERATION, Sample, sample
from nephra_postprocess.template import packaged


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
    # Each takes a third of a second: every third, and those that reverse all axes.
    orientations = ORIENTATIONS[::3] + ORIENTATIONS[7::8]

    def inputs(self) -> list[Any]:
        """A patient's kidneys and tumour, and a whole anatomy."""
        return [_patient(), anatomy()]


def _sample(labels: LabelMap, template: LabelMap | None = None) -> Outcome:
    return sample(labels, template or anatomy(), Sample(), Progress())


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
    """Kidneys, vessels and urinary tract of both sides are in it."""
    wanted = {2, 3, names.AORTA, names.INFERIOR_VENA_CAVA, names.URETER_RIGHT, names.URETER_LEFT}
    assert wanted <= set(packaged().present)


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
