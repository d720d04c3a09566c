"""`postprocess/sample`: a quick full anatomy from a template, in seconds."""

from __future__ import annotations

from statistics import median

import numpy as np
from pydantic import Field

from nephra_contract import labels as names
from nephra_contract.errors import StructureMissing
from nephra_contract.operation import Input, Operation, Outcome, Parameters
from nephra_contract.orientation import Orientation, canonical
from nephra_contract.progress import Progress
from nephra_contract.volume import LabelMap
from nephra_postprocess.atlas import transfer
from nephra_postprocess.atlas.outlines import Outlines
from nephra_postprocess.atlas.template import Template, packaged
from nephra_postprocess.region import present

#: Below it, what lies around a carried kidney says little of where it is in the patient.
_POOR_FIT = 0.5


class Sample(Parameters):
    """A full anatomy at once: a template carried to the patient's kidneys.

    All that the patient's mask holds stays exactly as it is; the rest is synthetic and shows
    where things usually are, not where they are in this patient. Organs are looked up in the
    template; vessels and ureters are carried as centre lines and drawn again, so that they stay
    whole, and lead around the patient's kidneys and tumour.

    `kidney_dice` in the report compares the template's kidney, as it is carried and before
    anything is pasted, with the patient's kidney and its lesions; a lesion larger than half of
    its kidney has displaced it and is left out. `outline_dice` is the same with the renal sinus
    closed in both.
    """

    quality: transfer.Quality = Field(
        default="fast",
        description="`fast`: one affine map per kidney, blended. `high`: then bent to the shape "
        "of the patient's kidneys.",
    )
    grid_mm: float = Field(
        default=1.5, ge=0.5, le=5, description="The template is looked up on about this grid."
    )


def sample(
    labels: LabelMap, template: LabelMap | None, parameters: Sample, progress: Progress
) -> Outcome:
    """Carry a template to the patient; the packaged one without `template_path`.

    Raises:
        StructureMissing: no kidney in the mask, none in the template, or none on one side
            in both.
    """
    progress.advance(0.0, "finding the kidneys")
    patient = canonical(labels)
    _check_kidneys("mask", patient)
    outlines = Outlines.of(patient)
    if template is not None:
        _check_kidneys("template", template)
    progress.advance(0.15, "reading the template")
    model = packaged() if template is None else Template.of(template)
    _check_sides(outlines, model.outlines)
    sampling = transfer.Sampling.of(patient, parameters.grid_mm)
    part = progress.part(0.25, 0.7)
    fit = transfer.lay(outlines, model, sampling.lattice(patient), parameters.quality, part.advance)
    progress.advance(0.7, "drawing the anatomy around the patient's own structures")
    result = labels.like(np.empty_like(labels.voxels))
    view = Orientation.of(labels).view(result.voxels)
    transfer.paste(patient, model, fit, sampling, view)
    progress.advance(1.0, "done")
    report = {
        "synthetic": True,
        "template": "packaged" if template is None else "given",
        "quality": parameters.quality,
        "kidney_dice": _with_median(fit.kidney_dice),
        "outline_dice": _with_median(fit.outline_dice),
        "jacobian_min": fit.warp.jacobian_min,
        "structures": model.structures,
    }
    warnings = ["All but the patient's own structures is synthetic."]
    if min(fit.kidney_dice.values()) < _POOR_FIT:
        warnings.append("The template's kidneys hardly fit the patient's: look at them first.")
    return Outcome(result, report, tuple(warnings))


def _with_median(by_side: dict[str, float]) -> dict[str, float]:
    return {"median": round(median(by_side.values()), 4), **by_side}


def _check_kidneys(whose: str, labels: LabelMap) -> None:
    if not present(labels.voxels) & set(names.KIDNEYS):
        raise StructureMissing(
            f"The {whose} holds no kidney; a template is laid over kidneys.",
            "Send a mask with 'kidney', 'kidney_right' or 'kidney_left', or say with "
            "'labels' which table its numbers are in.",
            missing=["kidney"],
            member=f"{whose}_path",
        )


def _check_sides(patient: Outlines, template: Outlines) -> None:
    for whose, outlines in (("mask", patient), ("template", template)):
        if not outlines.plain:
            raise StructureMissing(
                f"The {whose}'s kidneys are specks; a template is laid over kidneys.",
                "Send a mask with a whole kidney.",
                missing=["kidney"],
                member=f"{whose}_path",
            )
    if not set(patient.plain) & set(template.plain):
        raise StructureMissing(
            "The template lacks the kidney of the side that the mask holds.",
            "Use a template with both kidneys.",
            missing=["kidney"],
            member="template_path",
        )


OPERATION = Operation(
    name="postprocess/sample",
    inputs=(
        Input("mask_path", "mask", "The patient's kidneys, and what else is known.", many=True),
        Input(
            "template_path", "mask", "A full anatomy in nephra's numbers; else the packaged one.",
            optional=True, aliases=("templete_path",), space="nephra",
        ),
    ),
    parameters=Sample,
    function=sample,
    example={"mask_path": "cases/17/tumor.nii.gz"},
)  # fmt: skip
