from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from nephra_contract.errors import InternalError, NephraError, StructureMissing, Unprocessable
from nephra_contract.messages import Event
from nephra_gateway.pipeline import Emit, Outcomes, Pipeline
from nephra_gateway.planning import Plan, Step

TWO_WAYS = Plan(
    (
        Step("inference", "inference", gives=("one", "two"), weight=10),
        Step("left", "x/left", ("one",), {"size": 3}),
        Step("right", "x/right", ("one", "two"), needed=False),
        Step("after", "x/after", ("right",), needed=False),
        Step("end", "x/end", ("left", "two")),
    ),
    "A",
)


class Record:
    """Does requests at once, and remembers them."""

    def __init__(
        self,
        failing: str = "",
        stuck: str = "",
        error: NephraError = StructureMissing("It is not there.", "Look again."),  # noqa: B008
    ) -> None:
        self.error = error
        self.requests: dict[str, Mapping[str, Any]] = {}
        self.cancelled: list[str] = []
        self.left_out: list[str] = []
        self.failing = failing
        self.stuck = stuck

    async def __call__(
        self, step: Step, label: str, request: Mapping[str, Any], emit: Emit
    ) -> dict[str, Any]:
        """Answer with a mask named like the operation."""
        operation = step.operation
        self.requests[operation] = request
        emit(Event(event="progress", stage="at it", fraction=0.5))
        if operation == self.failing:
            raise self.error
        if operation == self.stuck:
            await self._stick(operation)
        if operation != "inference":
            return {"operation": operation, "mask_path": f"{operation}.nii.gz"}
        one = {"operation": "inference/one", "mask_path": "one.nii.gz"}
        emit(Event(event="artifact", stage="one", artifact=one))
        two = {"operation": "inference/two", "mask_path": "two.nii.gz", "warnings": ["hm"]}
        return {"operation": "inference", "parts": {"one": one, "two": two}}

    async def _stick(self, operation: str) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.append(operation)
            raise


def carry_out(record: Record, plan: Plan = TWO_WAYS) -> tuple[Outcomes, list[Event]]:
    """Run a plan; gives its outcomes and events."""
    events: list[Event] = []
    return asyncio.run(Pipeline(plan, record, events.append, record.left_out.append).run()), events


def test_each_step_gets_the_masks_that_it_stands_on() -> None:
    """One as a string, several as a list, in the plan's order."""
    record = Record()
    carry_out(record)
    assert record.requests["inference"] == {}
    assert record.requests["x/left"] == {"size": 3, "mask_path": "one.nii.gz"}
    assert record.requests["x/end"]["mask_path"] == ["x/left.nii.gz", "two.nii.gz"]


def test_every_result_is_an_artifact_once() -> None:
    """What came early is not said again at the end; warnings name their step."""
    outcomes, events = carry_out(Record())
    artifacts = [e.stage for e in events if e.event == "artifact"]
    assert sorted(artifacts) == ["after", "end", "left", "one", "right", "two"]
    assert artifacts[0] == "one"
    assert outcomes.warnings == ["two: hm"]
    assert set(outcomes.seconds) == set(artifacts)


def test_progress_is_of_the_whole() -> None:
    """Weighted, never falling, 1 at the end."""
    _, events = carry_out(Record())
    fractions = [e.fraction for e in events if e.event == "progress" and e.fraction is not None]
    assert fractions == sorted(fractions)
    assert fractions[0] == pytest.approx(5 / 30, abs=1e-4)
    assert fractions[-1] == 1


def test_an_unneeded_step_that_fails_is_left_out_with_what_stands_on_it() -> None:
    """The rest goes on; a warning says what is missing."""
    record = Record(failing="x/right")
    outcomes, _ = carry_out(record)
    assert "end" in outcomes.answers
    assert not {"right", "after"} & set(outcomes.answers)
    assert "x/after" not in record.requests
    assert record.left_out == ["right", "after"]
    assert outcomes.warnings == ["two: hm", "The step 'right' was left out: It is not there."]


def test_a_needed_step_that_fails_cancels_the_others() -> None:
    """Its own error comes out, not a group; what still ran is cancelled."""
    record = Record(failing="x/left", stuck="x/right")
    with pytest.raises(StructureMissing):
        carry_out(record)
    assert record.cancelled == ["x/right"]
    assert "x/end" not in record.requests


TAKING = Plan(
    (
        Step("inference", "inference", gives=("one", "two")),
        Step("joined", "x/joined", ("one",), if_missing="unchanged"),
        Step("fat", "x/fat", ("two",), if_missing="without"),
        Step("merge", "x/merge", ("joined", "fat", "two"), {"take": [["a"], ["b"], ["c"]]}),
    ),
    "A",
)


def test_where_nothing_can_be_joined_the_mask_goes_on_unchanged() -> None:
    """The step that stands on it gets the mask that was to be joined."""
    record = Record(failing="x/joined")
    carry_out(record, TAKING)
    merged = record.requests["x/merge"]["mask_path"]
    assert merged == ["one.nii.gz", "x/fat.nii.gz", "two.nii.gz"]


def test_where_there_is_nothing_to_add_the_merge_goes_without() -> None:
    """The mask and what was to be taken from it are left out together."""
    record = Record(failing="x/fat")
    carry_out(record, TAKING)
    assert record.requests["x/merge"]["mask_path"] == ["x/joined.nii.gz", "two.nii.gz"]
    assert record.requests["x/merge"]["take"] == [["a"], ["c"]]


@pytest.mark.parametrize("operation", ["x/joined", "x/fat"])
def test_other_errors_of_these_steps_fail_the_case(operation: str) -> None:
    """Only a structure that is not there is gone around."""
    error = Unprocessable("It went wrong.", "Mend it.")
    with pytest.raises(Unprocessable):
        carry_out(Record(failing=operation, error=error), TAKING)


def test_a_predictor_that_forgets_a_part_is_found_out() -> None:
    """A result that was promised and did not come is a defect, not silence."""
    plan = Plan((Step("inference", "inference", gives=("one", "three")),), "A")
    with pytest.raises(InternalError, match="three"):
        carry_out(Record(), plan)


def test_a_defect_of_a_step_comes_out_as_it_is() -> None:
    """No group of errors reaches the border."""

    async def broken(
        step: Step, label: str, request: Mapping[str, Any], emit: Emit
    ) -> dict[str, Any]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(Pipeline(TWO_WAYS, broken, lambda _: None).run())
    assert not issubclass(ZeroDivisionError, NephraError)
