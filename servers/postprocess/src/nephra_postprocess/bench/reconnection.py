"""How many severed tubes are rejoined, how much noise is, and what a whole tree costs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cc3d
import edt
import numpy as np

from nephra_contract import labels as names
from nephra_contract.nifti import read_image, read_labels
from nephra_contract.operation import Outcome
from nephra_contract.progress import Progress
from nephra_contract.volume import LabelMap, bounding_box
from nephra_postprocess.bench.real_cuts import sever_real
from nephra_postprocess.bench.severed import CutScore, Score, score
from nephra_postprocess.operations.ureter import Ureter, join_ureters
from nephra_postprocess.operations.vessel import Vessel, join_vessels
from nephra_postprocess.structures import tree
from nephra_serving.figures import Cases, Figure, measured

_GOAL_JOINED, _GOAL_NOISE, _GOAL_DICE, _GOAL_NEAR = 88.0, 1.0, 0.62, 0.78
#: 600 MB.
_ADDED_MIB = 572.0
_SPACINGS = {"iso": "0.8 mm", "thick": "0.8 x 0.8 x 2.5 mm"}


def reconnection(cases: Cases) -> Iterator[Figure]:
    """Severed trees with known truth, real veins with gaps of their own, and a whole tree."""
    for spacing, said in _SPACINGS.items():
        scores = dict(_severed(cases, spacing))
        yield from _figures(f"severed tubes, {said}", scores)
    if cases.real is not None:
        yield from _real(cases.real)
        yield from _cava(cases.real / "masks" / "veins_real_gaps")
        yield from _portal(cases.real / "masks" / "veins_real_gaps")
    yield from _whole(cases.drawn / "large" / "tree.nii.gz")


def rejoin(mask: LabelMap, operation: str, structures: list[str]) -> Outcome:
    """Run `vessel` or `ureter` with its defaults."""
    if operation == "ureter":
        return join_ureters(mask, Ureter(), Progress())
    return join_vessels(mask, Vessel(structures=structures), Progress())


def _severed(cases: Cases, spacing: str) -> Iterator[tuple[str, Score]]:
    """The score of each case of one spacing, by name."""
    for home in sorted((cases.drawn / "severed").glob(f"*-{spacing}")):
        described = json.loads((home / "case.json").read_text(encoding="utf-8"))
        mask = read_labels(home / "mask.nii.gz")
        truth = read_image(home / "truth.nii.gz").voxels
        after = rejoin(mask, described["operation"], described["structures"]).value
        yield home.name, score(mask, after, truth, _numbers(described), described)


def _numbers(described: dict[str, Any]) -> tuple[int, ...]:
    if described["operation"] == "ureter":
        return names.URETER_RIGHT, names.URETER_LEFT
    return tree(described["structures"][0]).numbers


def _figures(topic: str, scores: dict[str, Score]) -> Iterator[Figure]:
    cuts = [c for s in scores.values() for c in s.cuts]
    noise = [joined for s in scores.values() for joined in s.noise]
    if not cuts:
        return
    yield _share(topic, "cuts rejoined", cuts, _GOAL_JOINED)
    yield Figure(
        topic, "noise joined", 100 * sum(noise) / max(len(noise), 1), "%", _GOAL_NOISE, "less",
        len(noise),
    )  # fmt: skip
    note = "cuts not rejoined count as 0"
    for name, goal, values in (
        ("Dice inside the gaps", _GOAL_DICE, [c.dice for c in cuts]),
        ("Dice with one voxel's tolerance", _GOAL_NEAR, [c.near_dice for c in cuts]),
    ):
        yield Figure(topic, name, float(np.mean(values)), "", goal, count=len(values), note=note)
    kinds = sorted({name.rsplit("-", 2)[0] for name in scores})
    for kind in kinds:
        own = [c for n, s in scores.items() if n.startswith(kind) for c in s.cuts]
        yield _share(topic, f"rejoined, {kind.replace('-', ' ')}", own)
    short = [c for c in cuts if c.gap_mm < 2 * c.radius_mm]
    yield _share(topic, "rejoined, gaps shorter than the tube is wide", short)
    yield _share(topic, "rejoined, gaps of 12 mm and more", [c for c in cuts if c.gap_mm >= 12])
    yield _share(topic, "rejoined, radius below 1.5 mm", [c for c in cuts if c.radius_mm < 1.5])


def _share(topic: str, name: str, cuts: list[CutScore], goal: float | None = None) -> Figure:
    value = 100 * float(np.mean([c.joined for c in cuts])) if cuts else None
    return Figure(topic, name, value, "%", goal, count=len(cuts))


def _real(folder: Path) -> Iterator[Figure]:
    """Real vessels, severed by slabs."""
    scores = []
    for structure, cut, truth, described in sever_real(folder):
        after = rejoin(cut, "vessel", [structure]).value
        scores += score(cut, after, truth, [names.numbers()[structure]], described).cuts
    topic = "real vessels, severed by slabs"
    yield _share(topic, "cuts rejoined", scores, _GOAL_JOINED)
    if scores:
        dice, near = ([s.dice for s in scores], [s.near_dice for s in scores])
        yield Figure(topic, "Dice inside the gaps", float(np.mean(dice)), "", count=len(dice))
        yield Figure(
            topic, "Dice with one voxel's tolerance", float(np.mean(near)), "", count=len(near)
        )


def _cava(folder: Path) -> Iterator[Figure]:
    """A real vena cava in two pieces, beside its twin without a gap."""
    topic, vein = "real vena cava, gap of 3.8 mm", "inferior_vena_cava"
    cut = read_labels(folder / f"{vein}_gap4mm.nii.gz", {vein: 1})
    twin = read_labels(folder / f"{vein}_nogap_ref.nii.gz", {vein: 1})
    after = rejoin(cut, "vessel", [vein]).value
    yield Figure(topic, "pieces", _pieces(after, vein), "", 1, "less")
    added = after.voxels != cut.voxels
    box = bounding_box(added, margin=20)
    if box is None:
        yield Figure(topic, "farthest added voxel", None, "mm", 2.0, "less", note="none added")
        return
    away_mm = edt.edt(np.ascontiguousarray(twin.voxels[box] == 0), anisotropy=twin.spacing_mm)
    far_mm = float(away_mm[added[box]].max())
    yield Figure(topic, "farthest added voxel from the twin", far_mm, "mm", 2.0, "less")


def _portal(folder: Path) -> Iterator[Figure]:
    """A real portal vein whose pieces lie too far from each other."""
    vein = "portal_vein_and_splenic_vein"
    cut = read_labels(folder / "portal_splenic_gap35mm.nii.gz", {vein: 1})
    outcome = rejoin(cut, "vessel", [vein])
    longest = max((b["length_mm"] for b in outcome.report["bridges"]), default=0.0)
    topic = "real portal vein, pieces 35 mm apart"
    yield Figure(topic, "longest bridge", longest, "mm", 30.0, "less")
    yield Figure(topic, "pieces", _pieces(outcome.value, vein), "", 2, "more")


def _pieces(labels: LabelMap, name: str) -> int:
    mask = np.ascontiguousarray(labels.mask([names.numbers()[name]]))
    return int(cc3d.connected_components(mask, connectivity=26, return_N=True)[1])


def _whole(path: Path) -> Iterator[Figure]:
    if not path.is_file():
        return
    mask = read_labels(path)
    report, cost = measured(_report, mask)
    topic = "whole arterial tree, {} x {} x {}".format(*mask.shape)
    tubes = sum(mask.counts.values())
    said = f"{tubes} voxels of vessel, {len(report['bridges'])} bridges"
    yield Figure(topic, "CPU time", cost.cpu_s, "CPU s", 6.0, "less", note=said)
    yield Figure(topic, "added memory", cost.added_mib, "MiB", _ADDED_MIB, "less")


def _report(mask: LabelMap) -> dict[str, Any]:
    return dict(rejoin(mask, "vessel", ["artery"]).report)
