"""What follows from one operation object."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field

from nephra_contract.errors import RequestInvalid
from nephra_contract.operation import Input, Operation, Parameters, collect
from nephra_contract.progress import Progress
from nephra_contract.volume import LabelMap


class RemoveSmall(Parameters):
    """Islands of a label too small to be anatomy.

    They are dropped.
    """

    min_volume_mm3: float = Field(100, gt=0, description="Islands below this volume go.")


def _same(labels: LabelMap, parameters: RemoveSmall, progress: Progress) -> LabelMap:
    progress.advance(1.0)
    return labels


OPERATION = Operation(
    name="postprocess/remove_small",
    inputs=(
        Input("mask_path", "mask", "The mask.", many=True),
        Input("template_path", "mask", "A template.", optional=True, aliases=("templete_path",)),
    ),
    parameters=RemoveSmall,
    function=_same,
    example={"mask_path": "m.nii.gz"},
)


def test_a_request_is_taken_apart() -> None:
    """Files, parameters with defaults, label space, common members."""
    request = OPERATION.parse(
        {"mask_path": ["a.nii.gz", "b.nii.gz"], "labels": "kits", "ticket": "0" * 32}
    )
    assert request.files == {"mask_path": ["a.nii.gz", "b.nii.gz"]}
    assert request.parameters == RemoveSmall(min_volume_mm3=100)
    assert request.labels == "kits"
    assert request.common.ticket == "0" * 32


def test_aliases_are_taken() -> None:
    """The misspelling that callers already use."""
    request = OPERATION.parse({"mask_path": "a.nii.gz", "templete_path": "t.nii.gz"})
    assert request.files["template_path"] == ["t.nii.gz"]
    with pytest.raises(RequestInvalid):
        OPERATION.parse({"mask_path": "a.nii.gz", "templat_path": "t.nii.gz"})


@pytest.mark.parametrize(
    ("member", "request_"),
    [
        ("mask_path", {}),
        ("mask_path", {"mask_path": 7}),
        ("mask_path", {"mask_path": None}),
        ("min_volume_mm3", {"mask_path": "a", "min_volume_mm3": 0}),
        ("min_volume_mm3", {"mask_path": "a", "min_volume_mm3": "many"}),
        ("mask_path", {"mask_path": []}),
        ("min_volume_mm3", {"mask_path": "a", "min_volume_mm3": float("nan")}),
        ("min_volume", {"mask_path": "a", "min_volume": 3}),
        ("labels", {"mask_path": "a", "labels": "mystery"}),
        ("ticket", {"mask_path": "a", "ticket": "../../etc"}),
    ],
)
def test_what_is_wrong_is_named(member: str, request_: dict[str, Any]) -> None:
    """A 422 whose errors list the member."""
    with pytest.raises(RequestInvalid) as error:
        OPERATION.parse(request_)
    assert any(e["member"].startswith(member) for e in error.value.extra["errors"])
    assert member in error.value.detail


def test_the_description_says_all_that_a_caller_needs() -> None:
    """Summary from the docstring, JSON schema with bounds and sentences."""
    described = OPERATION.describe("postprocess")
    assert described.summary == "Islands of a label too small to be anatomy."
    assert described.model == "remove_small"
    volume = described.request_schema["properties"]["min_volume_mm3"]
    assert volume["exclusiveMinimum"] == 0
    assert volume["description"] == "Islands below this volume go."
    assert described.request_schema["required"] == ["mask_path"]
    assert described.request_schema["additionalProperties"] is False


def test_operations_are_collected_from_their_modules() -> None:
    """One name per operation is all that a registry needs."""
    found = collect("nephra_contract")
    assert found == ()
    with pytest.raises(ModuleNotFoundError):
        collect("nephra_contract", "no_such_operation")
