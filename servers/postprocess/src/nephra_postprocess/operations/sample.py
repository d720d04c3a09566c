"""`postprocess/sample`: a quick full anatomy from a template, in seconds."""

from __future__ import annotations

from statistics import median

from pydantic import Field

from nephra_contract import labels as names
from nephra_contract.errors import StructureMissing
from nephra_contract.operation import Input, Operation, Outcome, Parameters
from nephra_contract.orientation import canonical, stored_copy
from nephra_contract.progress import Progress
from nephra_contract.sides import assign_sides
from nephra_contract.volume import LabelMap
from nephra_postprocess import template as templates
from nephra_postprocess.region import present


class Sample(Parameters):
    """A full anatomy at once: a template carried to the patient's kidneys.

    All that the patient's mask holds stays exactly as it is; the rest is synthetic and shows
    where things usually are, not where they are in this patient.
    """

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
    patient = canonical(assign_sides(labels))
    given = templates.packaged() if template is None else assign_sides(template)
    model = templates.without_lesions(canonical(given))
    _check(patient, model)
    progress.advance(0.2, "laying the template over the kidneys")
    carried = templates.carry(patient, model, parameters.grid_mm)
    progress.advance(0.8, "pasting the patient's own structures")
    result, view = stored_copy(labels)
    view[...] = templates.compose(patient.voxels, carried.voxels)
    progress.advance(1.0, "done")
    report = {
        "synthetic": True,
        "template": "packaged" if template is None else "given",
        "kidney_dice": {
            "median": round(median(carried.kidney_dice.values()), 4),
            **carried.kidney_dice,
        },
        "jacobian_min": carried.jacobian_min,
    }
    return Outcome(result, report, ("All but the patient's own structures is synthetic.",))


def _check(patient: LabelMap, template: LabelMap) -> None:
    sides = {}
    for whose, labels in (("mask", patient), ("template", template)):
        sides[whose] = present(labels.voxels) & {names.KIDNEY_RIGHT, names.KIDNEY_LEFT}
        if not sides[whose]:
            raise StructureMissing(
                f"The {whose} holds no kidney; a template is laid over kidneys.",
                "Send a mask with 'kidney', 'kidney_right' or 'kidney_left', or say with "
                "'labels' which table its numbers are in.",
                missing=["kidney"],
                member=f"{whose}_path",
            )
    if not sides["mask"] & sides["template"]:
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
