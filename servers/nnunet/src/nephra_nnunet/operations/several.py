"""`inference`: several tasks on the phases of one patient, each image read once."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from nephra_contract.operation import Operation
from nephra_nnunet.manifest import TaskName
from nephra_nnunet.operations.parameters import InferenceParameters, needs_models
from nephra_nnunet.tasks import PHASE_INPUTS


class Several(InferenceParameters):
    """Several tasks on the phases of one patient.

    Each image is read once, and prepared once per spacing and normalisation, however many tasks
    want it. A mask is announced as soon as it is there; the answer has all of them in `parts`.
    """

    tasks: list[TaskName] = Field(min_length=1, description="What is wanted.")
    bundles: dict[TaskName, str] = Field(
        default_factory=dict, description="Models other than the default, by task."
    )


OPERATION = Operation(
    name="inference",
    inputs=tuple(replace(item, optional=True) for item in PHASE_INPUTS.values()),
    parameters=Several,
    function=needs_models,
    example={
        "tasks": ["totalseg", "tumor", "vessel"],
        "image_A_path": "cases/17/arterial.nii.gz",
        "image_P_path": "cases/17/portal.nii.gz",
    },
)
