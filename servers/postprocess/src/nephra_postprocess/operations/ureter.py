"""`postprocess/ureter`: severed ureters rejoined, each side for itself."""

from __future__ import annotations

from pydantic import Field

from nephra_contract import labels as names
from nephra_contract.errors import StructureMissing
from nephra_contract.operation import Input, Operation, Outcome
from nephra_contract.progress import Progress
from nephra_contract.sides import assign_sides
from nephra_contract.volume import LabelMap
from nephra_postprocess import region
from nephra_postprocess.structures import Tree
from nephra_postprocess.tubes.reconnection import TubeParameters, reconnect_all

_SIDES = (Tree("ureter_right", (names.URETER_RIGHT,)), Tree("ureter_left", (names.URETER_LEFT,)))


class Ureter(TubeParameters):
    """Severed ureters rejoined along plausible paths, never one side's with the other's.

    Peristalsis empties a ureter piece by piece, so gaps are longer than a vessel's, and its
    calibre changes more. Bridges run through background, fat and organs, around all else.
    """

    max_gap_mm: float = Field(default=30.0, gt=0, le=80, description="Longest gap that is closed.")
    min_plausibility: float = Field(
        default=0.15,
        gt=0,
        lt=1,
        description="Least plausibility of a bridge, 0 to 1; lower than for vessels, since a side "
        "has one ureter, and no branches of it to be mistaken for each other.",
    )
    min_calibre_ratio: float = Field(
        default=0.25, gt=0, le=1, description="Smallest ratio of the two radii that a bridge joins."
    )


def join_ureters(labels: LabelMap, parameters: Ureter, progress: Progress) -> Outcome:
    """Join the severed pieces of each ureter.

    Raises:
        StructureMissing: the mask holds no ureter.
    """
    progress.advance(0.0, "finding the ureters")
    found = region.present(labels.voxels)
    if not found & set(names.URETERS):
        raise StructureMissing(
            "The mask holds no ureter.",
            "Send a mask with 'ureter', 'ureter_right' or 'ureter_left', or say with 'labels' "
            "which table its numbers are in.",
            missing=["ureter"],
        )
    if names.URETER in found:
        labels = assign_sides(labels)
    return reconnect_all(labels, _SIDES, parameters, progress.part(0.1, 1.0))


OPERATION = Operation(
    name="postprocess/ureter",
    inputs=(Input("mask_path", "mask", "The ureters, and what lies around them.", many=True),),
    parameters=Ureter,
    function=join_ureters,
    version="2",
    example={"mask_path": "cases/17/ureters.nii.gz"},
)
