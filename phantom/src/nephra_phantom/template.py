"""`python -m nephra_phantom.template FOLDER`: the anatomy that `postprocess/sample` carries.

Two files: `template.nii.gz`, a healthy phantom's structures without its vessels and urinary
tract, and `template_lines.json`, the centre lines and radii of those, so that they can be drawn
again on any grid and stay whole. All of it is synthetic; no patient's data is in it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nephra_contract.labels import numbers
from nephra_contract.nifti import write_labels
from nephra_contract.volume import LabelMap
from nephra_phantom.grid import FIELD_OF_VIEW_MM, Grid, centred
from nephra_phantom.painting import Painter
from nephra_phantom.phantom import Phantom
from nephra_phantom.shapes import Tube

SEED = 4300
SPACING_MM = 1.6
#: Left out: what is ill, and the sinus, over which most masks of kidneys are closed.
_LEFT_OUT = ("tumor_", "cyst_", "sinus_")


#: The iliac vessels have numbers of their own in the table; a patient's own take their place.
_ILIACS = {
    "iliac_artery_left": "iliac_artery_left",
    "iliac_artery_right": "iliac_artery_right",
    "iliac_vein_left": "iliac_vena_left",
    "iliac_vein_right": "iliac_vena_right",
}


def template_labels(seed: int = SEED, spacing_mm: float = SPACING_MM) -> LabelMap:
    """What is not a tube: organs, kidneys with their sinus closed, fat, muscle, bones.

    Args:
        seed: of the phantom.
        spacing_mm: of the grid.
    """
    phantom = Phantom(seed)
    kept = tuple(
        one
        for one in phantom.anatomy.structures
        if one.name not in phantom.anatomy.tubes and not one.name.startswith(_LEFT_OUT)
    )
    grid = _grid(spacing_mm)
    return LabelMap(Painter(kept, phantom.motion("A"), grid).labels(), grid.affine)


def template_lines(seed: int = SEED) -> list[dict[str, Any]]:
    """Vessels, renal pelves and ureters in painting order, as far as the organs' grid reaches.

    Returns:
        For each tube its name, label, and the points (x, y, z in RAS+ mm) and radii in mm of
        its centre line.
    """
    phantom = Phantom(seed)
    lines = phantom.centerlines("A")
    for side in ("right", "left"):
        pelvis, (ureter,) = lines[f"renal_pelvis_{side}"], lines[f"ureter_{side}"]
        lines[f"ureter_{side}"] = [_outside(ureter, pelvis)]
    end_mm = FIELD_OF_VIEW_MM[2] / 2
    return [
        {
            "name": one.name,
            "label": numbers()[_ILIACS[one.name]] if one.name in _ILIACS else one.label,
            "points_mm": np.round(tube.points, 1).tolist(),
            "radii_mm": np.round(tube.radii, 2).tolist(),
        }
        for one in phantom.anatomy.structures
        for tube in (_within(t, end_mm) for t in lines.get(one.name, []))
    ]


def _outside(ureter: Tube, pelvis: list[Tube]) -> Tube:
    """A ureter from where it leaves the renal pelvis."""
    points = np.concatenate([tube.points for tube in pelvis])
    radii = np.concatenate([tube.radii for tube in pelvis])
    gaps = np.linalg.norm(ureter.points[:, None] - points, axis=-1) - radii
    first = int(np.flatnonzero(gaps.min(axis=1) <= 0)[-1])
    return Tube(ureter.points[first:], ureter.radii[first:])


def _within(tube: Tube, end_mm: float) -> Tube:
    """The part of a tube between two heights; all of them pass through the middle."""
    kept = np.abs(tube.points[:, 2]) <= end_mm
    return Tube(tube.points[kept], tube.radii[kept])


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m nephra_phantom.template", description=__doc__)
    parser.add_argument("folder", type=Path, help="where to; made if absent")
    parser.add_argument("--seed", type=int, default=SEED, help="default: %(default)s")
    asked = parser.parse_args(argv)
    asked.folder.mkdir(parents=True, exist_ok=True)
    write_labels(asked.folder / "template.nii.gz", template_labels(asked.seed))
    lines = json.dumps({"tubes": template_lines(asked.seed)}, separators=(",", ":"))
    (asked.folder / "template_lines.json").write_text(lines + "\n", encoding="utf-8")
    return 0


def _grid(spacing_mm: float) -> Grid:
    counts = [int(np.ceil(extent / spacing_mm)) for extent in FIELD_OF_VIEW_MM]
    return centred((counts[0], counts[1], counts[2]), (spacing_mm,) * 3)


if __name__ == "__main__":
    raise SystemExit(main())
