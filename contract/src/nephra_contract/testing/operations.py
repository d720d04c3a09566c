"""The promises that every operation on masks keeps.

Subclass once per operation, in the test file that bears its name:

    class TestRemoveSmall(OperationTests):
        operation = REMOVE_SMALL
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest
from pydantic import ValidationError

from nephra_contract.errors import Cancelled, NephraError, RequestInvalid
from nephra_contract.operation import Operation, Outcome
from nephra_contract.progress import Progress
from nephra_contract.scene import Scene
from nephra_contract.testing.anatomy import anatomy
from nephra_contract.testing.orientation import ORIENTATIONS, Orientation, reorient, restore
from nephra_contract.volume import LabelMap, Volume


class OperationTests:
    """Conformance suite; every test is one promise of design section 4.

    Attributes:
        operation: what is tested.
        parameters: the request's parameters, if the defaults do not do.
        adds: labels that the operation may bring in.
        empty_error: the error by which it refuses an empty mask; None: empty stays empty.
        orientations: the axis orders that are tried; all 48.
        agreement: share of the voxels with a label that must be the same in every order.
        tolerance_mm: by how much a mesh's bounds may differ between axis orders.
    """

    operation: ClassVar[Operation]
    parameters: ClassVar[Mapping[str, Any]] = {}
    adds: ClassVar[tuple[int, ...]] = ()
    empty_error: ClassVar[type[NephraError] | None] = None
    orientations: ClassVar[tuple[Orientation, ...]] = ORIENTATIONS
    agreement: ClassVar[float] = 1.0
    tolerance_mm: ClassVar[float] = 0.05

    def inputs(self) -> list[Any]:
        """One value per input of the operation, all that it needs; override where it needs more."""
        return [
            None if i.optional or i.kind == "image" else anatomy() for i in self.operation.inputs
        ]

    def run(self, inputs: list[Any], progress: Progress | None = None) -> Any:
        """The operation's value for these inputs."""
        parameters = self.operation.parameters(**self.parameters)
        outcome = self.operation.function(*inputs, parameters, progress or Progress())
        return outcome.value if isinstance(outcome, Outcome) else outcome

    def test_result_is_on_the_grid_of_the_first_input(self) -> None:
        """A mask has the shape and affine of the mask it was asked for."""
        inputs = self.inputs()
        value = self.run(inputs)
        if self.operation.output == "mask":
            assert isinstance(value, LabelMap)
            assert value.same_grid(_first(inputs), tolerance_mm=1e-9)
        else:
            assert isinstance(value, Scene)

    def test_inputs_stay_untouched(self) -> None:
        """No operation writes into what it was given."""
        inputs = self.inputs()
        before = [[v.voxels.copy() for v in _volumes(i)] for i in inputs]
        self.run(inputs)
        after = [[v.voxels for v in _volumes(i)] for i in inputs]
        for old, new in zip(before, after, strict=True):
            for a, b in zip(old, new, strict=True):
                np.testing.assert_array_equal(a, b)

    def test_no_label_is_invented(self) -> None:
        """Only labels of the inputs, and those that the operation is for, come out."""
        inputs = self.inputs()
        known = {n for i in inputs for v in _volumes(i) for n in _labels(v)} | set(self.adds)
        assert _labels(self.run(inputs)) <= known

    def test_the_same_request_gives_the_same_result(self) -> None:
        """Nothing depends on chance or on what ran before."""
        first, second = self.run(self.inputs()), self.run(self.inputs())
        if isinstance(first, Scene):
            for a, b in zip(first.meshes, second.meshes, strict=True):
                np.testing.assert_array_equal(a.vertices, b.vertices)
                np.testing.assert_array_equal(a.faces, b.faces)
        else:
            np.testing.assert_array_equal(first.voxels, second.voxels)

    def test_an_empty_mask_stays_empty_or_is_refused(self) -> None:
        """Nothing is made from nothing; a refusal is the documented one."""
        inputs = [_emptied(i) for i in self.inputs()]
        if self.empty_error is not None:
            with pytest.raises(self.empty_error):
                self.run(inputs)
        else:
            assert _labels(self.run(inputs)) == set()

    def test_the_result_is_the_same_in_the_patient_however_axes_are_stored(self) -> None:
        """All orders and directions of the stored axes give one result in world space."""
        inputs = self.inputs()
        expected = self.run(inputs)
        for orientation in self.orientations:
            turned = [_turned(i, orientation) for i in inputs]
            self._compare(expected, self.run(turned), orientation)

    def test_unknown_parameters_are_refused(self) -> None:
        """A misspelt parameter is an error, never ignored."""
        files = {i.name: "mask.nii.gz" for i in self.operation.inputs if not i.optional}
        self.operation.parse({**files, **self.parameters})
        with pytest.raises(RequestInvalid) as refusal:
            self.operation.parse({**files, **self.parameters, "no_such_parameter": 1})
        assert "no_such_parameter" in refusal.value.detail
        with pytest.raises(ValidationError):
            self.operation.parameters.model_validate({**self.parameters, "no_such_parameter": 1})

    def test_progress_rises_to_one(self) -> None:
        """What is reported never falls, and ends at 1."""
        seen: list[float] = []
        self.run(self.inputs(), Progress(report=lambda fraction, _: seen.append(fraction)))
        assert seen
        assert seen == sorted(seen)
        assert seen[-1] == pytest.approx(1.0)

    def test_cancelling_stops_it(self) -> None:
        """Once nobody waits, the work ends by `Cancelled`, also in its middle."""
        stop = threading.Event()
        stop.set()
        with pytest.raises(Cancelled):
            self.run(self.inputs(), Progress(stop=stop))
        midway = threading.Event()
        with pytest.raises(Cancelled):
            self.run(self.inputs(), Progress(report=lambda *_: midway.set(), stop=midway))

    def _compare(self, expected: Any, found: Any, orientation: Orientation) -> None:
        if isinstance(expected, Scene):
            assert [m.label for m in found.meshes] == [m.label for m in expected.meshes]
            for a, b in zip(expected.meshes, found.meshes, strict=True):
                for bound in (np.min, np.max):
                    np.testing.assert_allclose(
                        bound(b.vertices, axis=0), bound(a.vertices, axis=0),
                        atol=self.tolerance_mm, err_msg=str(orientation),
                    )  # fmt: skip
                assert b.volume_mm3 == pytest.approx(a.volume_mm3, rel=0.005), orientation
            return
        back = restore(found, orientation)
        assert back.same_grid(expected, tolerance_mm=1e-6), orientation
        labelled = (back.voxels > 0) | (expected.voxels > 0)
        same = (back.voxels == expected.voxels)[labelled].mean()
        assert same >= self.agreement, f"{orientation}: only {same:.4%} agree"


def _volumes(value: Any) -> list[Volume]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _first(inputs: list[Any]) -> Volume:
    return next(v for i in inputs for v in _volumes(i))


def _labels(value: Any) -> set[int]:
    if isinstance(value, Scene):
        return {m.label for m in value.meshes}
    return set(value.present) if isinstance(value, LabelMap) else set()


def _emptied(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_emptied(v) for v in value]
    return value.like(np.zeros_like(value.voxels)) if isinstance(value, LabelMap) else value


def _turned(value: Any, orientation: Orientation) -> Any:
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        return [_turned(v, orientation) for v in value]
    return reorient(value, orientation)
