"""`inference/tumor`: Kidneys, tumours and cysts."""

from __future__ import annotations

from nephra_contract.operation import Operation
from nephra_nnunet.operations.parameters import OneTaskParameters, needs_models
from nephra_nnunet.tasks import ANY_INPUT


class Tumor(OneTaskParameters):
    """Kidneys, tumours and cysts.

    The arterial phase shows tumours best, then the portal-venous, then the delayed one.
    """


OPERATION = Operation(
    name="inference/tumor",
    inputs=(ANY_INPUT,),
    parameters=Tumor,
    function=needs_models,
    example={"image_path": "cases/17/arterial.nii.gz"},
)
