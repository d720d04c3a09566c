"""The conformance suite finds what it promises to find: one sabotaged operation per promise."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from pydantic import ConfigDict

from nephra_contract import labels as names
from nephra_contract.operation import Input, NoParameters, Operation, Parameters
from nephra_contract.progress import Progress
from nephra_contract.scene import Mesh, Scene
from nephra_contract.testing import ORIENTATIONS, OperationTests
from nephra_contract.volume import LabelMap

_CALLS = itertools.count()


class Loose(Parameters):
    """Takes anything."""

    model_config = ConfigDict(extra="ignore")


def honest(labels: LabelMap, parameters: Parameters, progress: Progress) -> LabelMap:
    """Keeps every promise."""
    progress.advance(0.5)
    result = labels.like(labels.voxels.copy())
    progress.advance(1.0)
    return result


def shifts_the_grid(labels: LabelMap, parameters: Parameters, progress: Progress) -> LabelMap:
    """Breaks: same grid."""
    result = honest(labels, parameters, progress)
    return LabelMap(result.voxels[1:], result.affine)


def writes_into_its_input(labels: LabelMap, parameters: Parameters, progress: Progress) -> LabelMap:
    """Breaks: input untouched."""
    labels.voxels[labels.voxels == names.TUMOR] = names.CYST
    return honest(labels, parameters, progress)


def invents_a_label(labels: LabelMap, parameters: Parameters, progress: Progress) -> LabelMap:
    """Breaks: no invented label."""
    result = honest(labels, parameters, progress)
    result.voxels[result.voxels == names.TUMOR] = 111
    return result


def throws_dice(labels: LabelMap, parameters: Parameters, progress: Progress) -> LabelMap:
    """Breaks: same result twice."""
    result = honest(labels, parameters, progress)
    result.voxels[next(_CALLS) % 7, 0, 0] = names.TUMOR
    return result


def fills_the_empty(labels: LabelMap, parameters: Parameters, progress: Progress) -> LabelMap:
    """Breaks: empty stays empty."""
    result = honest(labels, parameters, progress)
    if not result.voxels.any():
        result.voxels[0] = names.TUMOR
    return result


def trusts_the_array(labels: LabelMap, parameters: Parameters, progress: Progress) -> LabelMap:
    """Breaks: same result in world space (drops the first half of the first stored axis)."""
    result = honest(labels, parameters, progress)
    result.voxels[: result.shape[0] // 2] = 0
    return result


def falls_back(labels: LabelMap, parameters: Parameters, progress: Progress) -> LabelMap:
    """Breaks: progress rises."""
    progress.advance(0.9)
    return honest(labels, parameters, progress)


def never_ends(labels: LabelMap, parameters: Parameters, progress: Progress) -> LabelMap:
    """Breaks: progress ends at 1."""
    progress.advance(0.5)
    return labels.like(labels.voxels.copy())


def swallows_the_stop(labels: LabelMap, parameters: Parameters, progress: Progress) -> LabelMap:
    """Breaks: cancel stops it."""
    return honest(labels, parameters, Progress(progress.report))


def reports_only_at_the_end(
    labels: LabelMap, parameters: Parameters, progress: Progress
) -> LabelMap:
    """Breaks: cancel stops it in the middle."""
    result = labels.like(labels.voxels.copy())
    progress.advance(1.0)
    return result


def _suite(
    function: Callable[..., object], parameters: type[Parameters] = NoParameters
) -> OperationTests:
    suite = OperationTests()
    operation = Operation(
        "postprocess/x", (Input("mask_path", "mask", "The mask."),), parameters, function
    )
    type.__setattr__(OperationTests, "operation", operation)
    return suite


PROMISES = [name for name in vars(OperationTests) if name.startswith("test_")]
SABOTAGE: list[tuple[str, Callable[..., LabelMap]]] = [
    ("test_result_is_on_the_grid_of_the_first_input", shifts_the_grid),
    ("test_inputs_stay_untouched", writes_into_its_input),
    ("test_no_label_is_invented", invents_a_label),
    ("test_the_same_request_gives_the_same_result", throws_dice),
    ("test_an_empty_mask_stays_empty_or_is_refused", fills_the_empty),
    (
        "test_the_result_is_the_same_in_the_patient_however_axes_are_stored",
        trusts_the_array,
    ),
    ("test_progress_rises_to_one", falls_back),
    ("test_progress_rises_to_one", never_ends),
    ("test_cancelling_stops_it", swallows_the_stop),
    ("test_cancelling_stops_it", reports_only_at_the_end),
]


@pytest.fixture(autouse=True)
def _restored() -> object:
    """The suite's class is as it was after each test."""
    yield
    if "operation" in vars(OperationTests):
        del OperationTests.operation


@pytest.mark.parametrize("promise", PROMISES)
def test_an_honest_operation_keeps_every_promise(promise: str) -> None:
    """The suite does not cry wolf."""
    getattr(_suite(honest), promise)()


@pytest.mark.parametrize(("promise", "function"), SABOTAGE)
def test_a_broken_promise_is_found(promise: str, function: Callable[..., LabelMap]) -> None:
    """Each by the test that is named for it."""
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        getattr(_suite(function), promise)()


def test_ignored_parameters_are_found() -> None:
    """An operation that takes anything fails."""
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        _suite(honest, Loose).test_unknown_parameters_are_refused()


def test_every_promise_has_its_saboteur() -> None:
    """A promise that nobody tried to break proves nothing."""
    tried = {promise for promise, _ in SABOTAGE} | {"test_unknown_parameters_are_refused"}
    assert tried == set(PROMISES)
    assert len(ORIENTATIONS) == len(set(ORIENTATIONS)) == 48


def _box(labels: LabelMap, mirrored: bool) -> Scene:
    """The bounding box of the tumour, at its place in the patient or mirrored."""
    where = labels.to_world(np.argwhere(labels.voxels == names.TUMOR))
    low, high = where.min(axis=0), where.max(axis=0)
    if mirrored and labels.affine[0, 0] < 0:
        low[0], high[0] = -high[0], -low[0]
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]) * (high - low) + low
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    return Scene((Mesh(names.TUMOR, corners, faces),))


@pytest.mark.parametrize("mirrored", [False, True])
def test_scenes_are_compared_in_the_patient(mirrored: bool) -> None:
    """A mesh on the wrong side of the body is found."""

    def surface(labels: LabelMap, parameters: Parameters, progress: Progress) -> Scene:
        progress.advance(1.0)
        return _box(labels, mirrored)

    suite = _suite(surface)
    promise = suite.test_the_result_is_the_same_in_the_patient_however_axes_are_stored
    if mirrored:
        with pytest.raises(AssertionError):
            promise()
    else:
        promise()
        suite.test_the_same_request_gives_the_same_result()
