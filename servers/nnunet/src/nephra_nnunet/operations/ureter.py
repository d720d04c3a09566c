"""`inference/ureter`: Ureters with the renal pelves, and kidneys, from the delayed phase."""

from __future__ import annotations

from nephra_contract.operation import Operation
from nephra_nnunet.operations.parameters import OneTaskParameters, needs_models
from nephra_nnunet.tasks import PHASE_INPUTS


class Ureter(OneTaskParameters):
    """Ureters with the renal pelves, and kidneys, from the delayed phase.

    The ureters are seen by the contrast in the urine.
    """


OPERATION = Operation(
    name="inference/ureter",
    inputs=(PHASE_INPUTS["D"],),
    parameters=Ureter,
    function=needs_models,
    example={"image_D_path": "cases/17/delayed.nii.gz"},
)
