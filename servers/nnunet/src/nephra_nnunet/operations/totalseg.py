"""`inference/totalseg`: All organs, on the full grid of the image."""

from __future__ import annotations

from nephra_contract.operation import Operation
from nephra_nnunet.operations.parameters import OneTaskParameters, needs_models
from nephra_nnunet.tasks import ANY_INPUT


class Totalseg(OneTaskParameters):
    """All organs, on the full grid of the image.

    The model works at its own spacing, 1 mm or coarser; a finer image is reduced for it.
    """


OPERATION = Operation(
    name="inference/totalseg",
    inputs=(ANY_INPUT,),
    parameters=Totalseg,
    function=needs_models,
    example={"image_path": "cases/17/arterial.nii.gz"},
)
