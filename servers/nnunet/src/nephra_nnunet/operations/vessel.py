"""`inference/vessel`: Kidneys, arteries and veins, on the grid of the arterial image."""

from __future__ import annotations

from nephra_contract.operation import Operation
from nephra_nnunet.operations.parameters import OneTaskParameters, needs_models
from nephra_nnunet.tasks import PHASE_INPUTS


class Vessel(OneTaskParameters):
    """Kidneys, arteries and veins, on the grid of the arterial image.

    The portal-venous image is resampled onto the arterial one where their grids differ.
    """


OPERATION = Operation(
    name="inference/vessel",
    inputs=(PHASE_INPUTS["A"], PHASE_INPUTS["P"]),
    parameters=Vessel,
    function=needs_models,
    example={
        "image_A_path": "cases/17/arterial.nii.gz",
        "image_P_path": "cases/17/portal.nii.gz",
    },
)
