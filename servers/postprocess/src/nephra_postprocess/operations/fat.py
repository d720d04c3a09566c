"""`postprocess/fat`: the perirenal fat around kidney, tumour and cyst."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nephra_contract import labels as names
from nephra_contract.errors import StructureMissing
from nephra_contract.merge import regrid
from nephra_contract.operation import Input, Operation, Outcome, Parameters
from nephra_contract.orientation import canonical, stored_copy
from nephra_contract.progress import Progress
from nephra_contract.sides import assign_sides, midline_x_mm
from nephra_contract.volume import LabelMap, Volume
from nephra_postprocess import perirenal, region

FAT_HU = (-190.0, -30.0)


class Fat(Parameters):
    """Perirenal fat around each kidney, its tumour and its cysts, in no other structure.

    The fat is drawn as the perirenal space is shaped: thicker behind and below. With
    `image_path` only voxels of fat density are taken; without, it is an estimate.
    """

    lateral_mm: float = Field(default=9.0, gt=0, le=60, description="Reach away from the midline.")
    medial_mm: float = Field(default=6.0, gt=0, le=60, description="Reach towards the midline.")
    anterior_mm: float = Field(default=8.0, gt=0, le=60, description="Reach to the front.")
    posterior_mm: float = Field(default=12.0, gt=0, le=60, description="Reach to the back.")
    superior_mm: float = Field(default=10.0, gt=0, le=60, description="Reach towards the head.")
    inferior_mm: float = Field(default=20.0, gt=0, le=60, description="Reach towards the feet.")
    grid_mm: float = Field(
        default=2.0, ge=0.5, le=4, description="Step of the grid it is drawn on."
    )


def add_fat(labels: LabelMap, image: Volume | None, parameters: Fat, progress: Progress) -> Outcome:
    """Add label 209 where the perirenal space is and no other structure.

    Raises:
        StructureMissing: the mask holds no kidney.
    """
    progress.advance(0.0, "finding the kidneys")
    patient = canonical(labels)
    if not region.present(patient.voxels) & set(names.KIDNEYS):
        raise StructureMissing(
            "The mask holds no kidney; perirenal fat is drawn around kidneys.",
            "Send a mask with 'kidney', 'kidney_right' or 'kidney_left', or say with 'labels' "
            "which table its numbers are in.",
            missing=["kidney"],
        )
    margins = _margins(parameters)
    lesions = (names.TUMOR, *names.CYSTS)
    box = region.box_of(patient, (*names.KIDNEYS, *lesions), margins.largest_mm + 4)
    assert box is not None
    crop, midline_mm = _sided(region.compact(patient, box), patient)
    fatty = None if image is None else _fat_density(canonical(image), crop)
    progress.advance(0.2, "drawing the perirenal space")
    added, view = stored_copy(labels)
    coarse = perirenal.Coarse.of(crop, parameters.grid_mm)
    volumes_ml: dict[str, float] = {}
    for number, side in enumerate(perirenal.SIDES):
        space = perirenal.perirenal_space(coarse, side, margins, midline_mm)
        if space is not None:
            here = perirenal.fill(space, crop) & (view[box] == 0)
            if fatty is not None:
                here &= fatty
            view[box][here] = names.PERIRENAL_FAT
            volumes_ml[side] = round(int(here.sum()) * labels.voxel_volume_mm3 / 1000, 3)
        progress.advance(0.6 + 0.4 * number, "drawing the perirenal space")
    return Outcome(added, _report(image, volumes_ml))


def _margins(parameters: Fat) -> perirenal.Margins:
    return perirenal.Margins(**parameters.model_dump(exclude={"grid_mm"}))


def _sided(crop: LabelMap, whole: LabelMap) -> tuple[LabelMap, float | None]:
    """Kidneys with sides, and the local x of the midline where both sides are there."""
    found = region.present(crop.voxels)
    if names.KIDNEY in found:
        crop = assign_sides(crop, midline_x_mm(whole))
        found = region.present(crop.voxels)
    if not {names.KIDNEY_RIGHT, names.KIDNEY_LEFT} <= found:
        return crop, None
    mean_x = [
        float((np.argwhere(crop.voxels == n) @ crop.affine[0, :3]).mean())
        for n in (names.KIDNEY_RIGHT, names.KIDNEY_LEFT)
    ]
    return crop, round(sum(mean_x) / 2, 6)


def _fat_density(image: Volume, crop: LabelMap) -> NDArray[np.bool_]:
    """Where the CT has the density of fat, on the crop's grid; outside of the CT nowhere."""
    dense: NDArray[Any] = (image.voxels >= FAT_HU[0]) & (image.voxels <= FAT_HU[1])
    fatty = LabelMap(dense.view(np.uint8), image.affine)
    return np.asarray(regrid(fatty, crop).voxels > 0)


def _report(image: Volume | None, volumes_ml: dict[str, float]) -> dict[str, Any]:
    return {
        "estimated": image is None,
        "method": "estimated, no CT" if image is None else "perirenal space, voxels of fat density",
        "added_ml": volumes_ml,
    }


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
