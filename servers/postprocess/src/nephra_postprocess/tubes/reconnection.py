"""Severed tubes rejoined: fragments, their ends, the plausible bridges, drawn and reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from nephra_contract.operation import Outcome, Parameters
from nephra_contract.orientation import Orientation, canonical
from nephra_contract.progress import Progress
from nephra_contract.volume import LabelMap
from nephra_postprocess.region import sparse_copy
from nephra_postprocess.structures import Tree
from nephra_postprocess.tubes.bridges import Gates, find_candidates
from nephra_postprocess.tubes.canvas import Canvas, Stroke
from nephra_postprocess.tubes.ends import End, find_ends
from nephra_postprocess.tubes.forest import choose
from nephra_postprocess.tubes.fragments import find_fragments
from nephra_postprocess.tubes.report import describe_bridge, describe_small, describe_tree
from nephra_postprocess.tubes.stones import Stones
from nephra_postprocess.tubes.support import Support


class TubeParameters(Parameters):
    """What joining tubes is told, whatever the tubes are."""

    max_gap_mm: float = Field(default=25.0, gt=0, le=60, description="Longest gap that is closed.")
    max_angle_deg: float = Field(
        default=75.0,
        gt=0,
        le=90,
        description="Largest bend between an end's direction and its bridge.",
    )
    max_side_angle_deg: float = Field(
        default=30.0,
        gt=0,
        le=90,
        description="The same, where a bridge meets the side of another tube.",
    )
    min_calibre_ratio: float = Field(
        default=0.4, gt=0, le=1, description="Smallest ratio of the two radii that a bridge joins."
    )
    min_support_mm: float = Field(
        default=3.0,
        ge=0,
        le=50,
        description="Shortest tube behind an end that speaks for a direction.",
    )
    min_side_support_mm: float = Field(
        default=20.0,
        ge=0,
        le=100,
        description="The same, where a bridge meets the side of another tube.",
    )
    min_plausibility: float = Field(
        default=0.25,
        gt=0,
        lt=1,
        description="Least plausibility of a bridge, 0 to 1, judged from gap, direction, calibre, "
        "the length of tube behind its ends, and what else these could be joined to.",
    )
    min_fragment_volume_mm3: float = Field(
        default=30.0,
        ge=0,
        description="Pieces below this volume are taken for noise and left alone.",
    )

    added: bool = Field(
        default=False,
        description="Also write a mask of only the added voxels; the answer names it added_path.",
    )

    def gates(self) -> Gates:
        """The part of it that judges bridges."""
        return Gates(
            self.max_gap_mm,
            self.max_angle_deg,
            self.max_side_angle_deg,
            self.min_calibre_ratio,
            self.min_support_mm,
            self.min_side_support_mm,
            self.min_plausibility,
        )


@dataclass(frozen=True)
class Reconnection:
    """What was done to one tree.

    Args:
        bridges: one dictionary per bridge, for the report.
        alone: one dictionary per fragment left alone, for the report.
        strokes: what was drawn.
    """

    bridges: list[dict[str, Any]] = field(default_factory=list)
    alone: list[dict[str, Any]] = field(default_factory=list)
    strokes: list[Stroke] = field(default_factory=list)


def reconnect_all(
    labels: LabelMap, trees: Sequence[Tree], parameters: TubeParameters, progress: Progress
) -> Outcome:
    """Join the severed tubes of several trees, one after the other.

    Args:
        labels: a mask, however it is stored; it stays as it is.
        trees: what is joined; bridges of later ones go around those of earlier ones.
        parameters: the gates.
        progress: of all of it.
    """
    joined, view = sparse_copy(labels)
    affine = canonical(labels).affine
    report: dict[str, list[object]] = {"bridges": [], "fragments": []}
    strokes: list[Stroke] = []
    for count, tree in enumerate(trees):
        part = progress.part(count / len(trees), (count + 1) / len(trees))
        done = reconnect(LabelMap(view, affine), view, tree, parameters, part)
        report["bridges"] += done.bridges
        report["fragments"] += done.alone
        strokes += done.strokes
    progress.advance(1.0, "done")
    layers = {"added": _layer(labels, strokes)} if parameters.added else {}
    return Outcome(joined, report, layers=layers)


def reconnect(
    patient: LabelMap,
    target: NDArray[Any],
    tree: Tree,
    parameters: TubeParameters,
    progress: Progress,
) -> Reconnection:
    """Join the severed tubes of one tree.

    Args:
        patient: axes along right, front, head; what is there.
        target: (X, Y, Z) voxels of the same grid, written into.
        tree: its labels; at least one is present.
        parameters: the gates.
        progress: of this tree.
    """
    progress.advance(0.0, f"finding the pieces of {tree.name}")
    fragments, small = find_fragments(patient, tree.numbers, parameters.min_fragment_volume_mm3)
    if fragments.count == 0:
        return Reconnection([], describe_small(small, patient, tree))
    progress.advance(0.4, f"finding the ends of {tree.name}")
    ends: list[End] = []
    if fragments.count > 1:
        ends = find_ends(fragments, parameters.min_support_mm)
    progress.advance(0.7, f"judging the gaps of {tree.name}")
    stones = Stones.of(fragments, small)
    candidates = find_candidates(fragments, ends, parameters.gates(), stones)
    canvas = Canvas(patient, target, tree, fragments, stones)
    support = Support(stones.pieces, fragments.volumes_mm3())
    chosen = choose(fragments.count, candidates.bridges, canvas.passable, support.unfounded)
    progress.advance(0.85, f"drawing the bridges of {tree.name}")
    strokes = [canvas.paint(b) for b in chosen]
    bridges = [describe_bridge(b, s, canvas) for b, s in zip(chosen, strokes, strict=True)]
    alone = describe_tree(fragments, ends, candidates, chosen, canvas, tree)
    return Reconnection(bridges, alone + describe_small(small, patient, tree), strokes)


def _layer(labels: LabelMap, strokes: list[Stroke]) -> LabelMap:
    """A mask on the same grid of what was drawn, in the labels that it was drawn with."""
    layer = labels.like(np.zeros_like(labels.voxels, order="K"))
    view = Orientation.of(layer).view(layer.voxels)
    for stroke in strokes:
        view[stroke.box][stroke.new] = stroke.label
    return layer
