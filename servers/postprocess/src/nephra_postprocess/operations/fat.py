"""`postprocess/fat`: the perirenal fat around kidney, tumour and cyst."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray
from pydantic import Field

from nephra_contract import labels as names
from nephra_contract.errors import GeometryRefused, StructureMissing
from nephra_contract.operation import Input, Operation, Outcome, Parameters
from nephra_contract.orientation import canonical
from nephra_contract.progress import Progress
from nephra_contract.sides import midline_x_mm
from nephra_contract.volume import LabelMap, Volume
from nephra_postprocess import density, perirenal, region
from nephra_postprocess.coarse import LESIONS, SIDES, Coarse

_ESTIMATED = ("No CT was given: the perirenal fat is estimated from the kidneys' outline.",)


class Fat(Parameters):
    """Perirenal fat around each kidney, its tumour and its cysts, in no other structure.

    The fat is drawn as the perirenal space is shaped: thicker behind and below, ending at other
    structures and at the muscle that lies on bones, lungs and back muscles; the renal sinus is
    left out. With `image_path` only voxels of fat density that hang together with the kidney's
    surroundings are taken; without, it is an estimate.
    """

    lateral_mm: float = Field(default=9.0, gt=0, le=60, description="Reach away from the midline.")
    medial_mm: float = Field(default=6.0, gt=0, le=60, description="Reach towards the midline.")
    anterior_mm: float = Field(default=8.0, gt=0, le=60, description="Reach to the front.")
    posterior_mm: float = Field(default=12.0, gt=0, le=60, description="Reach to the back.")
    superior_mm: float = Field(default=10.0, gt=0, le=60, description="Reach towards the head.")
    inferior_mm: float = Field(default=20.0, gt=0, le=60, description="Reach towards the feet.")
    image_reach: float = Field(
        default=1.75, ge=1, le=3,
        description="With `image_path` all reaches are multiplied by this: the CT decides.",
    )  # fmt: skip
    grid_mm: float = Field(
        default=2.0, ge=0.5, le=4, description="Step of the grid it is drawn on."
    )


def add_fat(labels: LabelMap, image: Volume | None, parameters: Fat, progress: Progress) -> Outcome:
    """Add label 209 where the perirenal space is and no other structure.

    Raises:
        StructureMissing: the mask holds no kidney.
        GeometryRefused: the CT shows nothing of the kidneys' surroundings.
    """
    progress.advance(0.0, "finding the kidneys")
    patient = canonical(labels)
    found = region.present(patient.voxels)
    _check(found)
    margins = _margins(parameters, image)
    box = region.box_of(
        patient,
        found & {*names.KIDNEYS, *LESIONS},
        margins.largest_mm + 2 * parameters.grid_mm,
    )
    assert box is not None
    crop = patient.crop(box)
    progress.advance(0.1, "looking at what is around them")
    around, warnings = _surroundings(patient, crop, image, parameters.grid_mm)
    added, view = region.sparse_copy(labels)
    volumes_ml: dict[str, float] = {}
    for number, side in enumerate(SIDES):
        progress.advance(0.3 + 0.35 * number, "drawing the perirenal space")
        space = perirenal.perirenal_space(around, side, margins)
        if space is not None:
            count = _paint(space, crop, view[box], image)
            volumes_ml[side] = round(count * labels.voxel_volume_mm3 / 1000, 3)
    progress.advance(1.0, "done")
    report = {
        "estimated": image is None,
        "method": "estimated, no CT" if image is None else "perirenal space, voxels of fat density",
        "added_ml": volumes_ml,
    }
    return Outcome(added, report, warnings)


def _check(found: set[int]) -> None:
    if not found & set(names.KIDNEYS):
        raise StructureMissing(
            "The mask holds no kidney; perirenal fat is drawn around kidneys.",
            "Send a mask with 'kidney', 'kidney_right' or 'kidney_left', or say with 'labels' "
            "which table its numbers are in.",
            missing=["kidney"],
        )


def _margins(parameters: Fat, image: Volume | None) -> perirenal.Margins:
    reaches = parameters.model_dump(exclude={"grid_mm", "image_reach"})
    margins = perirenal.Margins(**reaches)
    return margins if image is None else margins.times(parameters.image_reach)


def _surroundings(
    patient: LabelMap, crop: LabelMap, image: Volume | None, grid_mm: float
) -> tuple[perirenal.Surroundings, tuple[str, ...]]:
    """Kidneys with their sides on the coarsest grid that serves, and what bounds their fat."""
    coarse = Coarse.of(crop, grid_mm)
    sided = coarse.sided(lambda: midline_x_mm(region.thinned(patient)) - float(crop.affine[0, 3]))
    if image is None:
        return perirenal.Surroundings.of(sided, None), _ESTIMATED
    ct, grid = canonical(image), sided.grid(crop)
    around = perirenal.Surroundings.of(sided, density.fatty(ct, grid))
    seen = density.covered(ct, grid)[sided.within((*names.KIDNEYS, *LESIONS))]
    if not seen.any():
        raise GeometryRefused(
            "The CT shows no part of the mask's kidneys.",
            "Send the CT that the mask was made of, or leave 'image_path' out for an estimate.",
            code="image_elsewhere",
        )
    if not seen.all():
        return around, (f"The CT shows {seen.mean():.0%} of the kidneys; fat is added there only.",)
    return around, ()


def _paint(space: perirenal.Space, crop: LabelMap, view: NDArray[Any], image: Volume | None) -> int:
    """Put fat where a space is and no structure; the number of voxels that became fat."""
    count = 0
    for slab, here in perirenal.fill(space, crop):
        here &= view[slab] == 0
        if image is not None and here.any():
            here &= density.fatty(canonical(image), crop.crop(slab))
        view[slab][here] = names.PERIRENAL_FAT
        count += int(here.sum())
    return count


OPERATION = Operation(
    name="postprocess/fat",
    inputs=(
        Input("mask_path", "mask", "Kidneys, and tumour, cysts and organs if known.", many=True),
        Input(
            "image_path", "image", "The CT: only voxels of fat density are taken.", optional=True
        ),
    ),
    parameters=Fat,
    function=add_fat,
    example={"mask_path": "cases/17/organs.nii.gz"},
)
