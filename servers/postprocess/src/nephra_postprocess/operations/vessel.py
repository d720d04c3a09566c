"""`postprocess/vessel`: severed vessels rejoined."""

from __future__ import annotations

from pydantic import Field

from nephra_contract.errors import StructureMissing
from nephra_contract.operation import Input, Operation, Outcome
from nephra_contract.progress import Progress
from nephra_contract.volume import LabelMap
from nephra_postprocess import region
from nephra_postprocess.structures import tree
from nephra_postprocess.tubes.reconnection import TubeParameters, reconnect_all


class Vessel(TubeParameters):
    """Severed vessels rejoined along plausible paths; noise is left alone.

    A gap is closed where two ends face each other, or an end faces the side of another vessel,
    within gates of gap, direction and calibre, if that is plausible enough, all that the ends
    could be joined to considered. Bridges run through background, fat and organs, around
    everything else. A blob of noise is crossed only where ends on both sides of it support
    that. Arteries and veins are never joined with each other.
    """

    structures: list[str] = Field(
        default=["artery"],
        min_length=1,
        max_length=20,
        description="What is joined: 'artery' and 'vein' are the whole systemic trees; "
        "'aorta', 'inferior_vena_cava', 'portal_vein_and_splenic_vein', … are single vessels.",
    )


def join_vessels(labels: LabelMap, parameters: Vessel, progress: Progress) -> Outcome:
    """Join the severed pieces of each wanted vessel tree.

    Raises:
        RequestInvalid: `structures` names what is no vessel.
        StructureMissing: a wanted structure has no voxel.
    """
    progress.advance(0.0, "finding the vessels")
    trees = [tree(name) for name in dict.fromkeys(parameters.structures)]
    found = region.present(labels.voxels)
    missing = [t.name for t in trees if not found & set(t.numbers)]
    if missing:
        raise StructureMissing(
            f"The mask holds no {', no '.join(missing)}.",
            "Name with 'structures' what the mask holds, or say with 'labels' which table its "
            "numbers are in.",
            missing=missing,
        )
    return reconnect_all(labels, trees, parameters, progress.part(0.1, 1.0))


OPERATION = Operation(
    name="postprocess/vessel",
    inputs=(Input("mask_path", "mask", "The vessels, and what lies around them.", many=True),),
    parameters=Vessel,
    function=join_vessels,
    version="2",
    example={"mask_path": "cases/17/vessels.nii.gz", "structures": ["artery"]},
)
