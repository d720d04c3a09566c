"""The model card of a demo bundle, in Markdown."""

from __future__ import annotations

from typing import Any

from nephra_phantom.bundles.tasks import UNSEEN_SEEDS, VALIDATION_SEEDS, Task

_NOTES = {
    "totalseg": """`spine` is vertebrae and sacrum without discs; `kidney` is parenchyma without
tumour, cyst, sinus and pelvis. Input: any of the phases A, P, D, or a native scan.""",
    "vessel": """`artery` is the arterial tree (aorta, renal and iliac arteries), `vein` is vena
cava, renal and iliac veins, on the grid of A. Channel 0 is A, channel 1 is P on A's grid.""",
    "ureter": """`ureter` is the urinary tract from the calyces and pelvis down to the bladder;
`kidney` is parenchyma without tumour and cyst. Input: D.""",
    "tumor": """`kidney` is parenchyma without tumour, cyst, sinus and pelvis. Input: any one of A,
P or D.""",
}

_CARD = """# Demo bundle `{name}`

A small nnU-Net that shows that the software works. **Demonstration on synthetic anatomy. Not for
clinical use.** It has hardly seen a real patient.

## What it does

{classes}
{notes}

## What it was trained on

{trained_on}, drawn at random in anatomy, enhancement, noise, sharpness, grid and field of view;
watched on seeds {first}-{last}. Plain U-Net, features {features}, patch {patch}³ voxels of
{spacing} mm, trained with nnunetv2 on two CPU cores. Images are brought to RAS+ order first
(`NibabelIOWithReorient` in the plans); no mirroring at inference.

## What it reaches

{results}
## Limits

Phantoms are far simpler than patients: expect it to fail on real scans. No transplant, horseshoe
or ptotic kidneys, no stents, no metal, no arms beside the body.

## Licence

Apache-2.0.
"""

_ATTRIBUTION = """
Contains what was learned from the example CT of TotalSegmentator (Apache-2.0): Wasserthal J. et
al., TotalSegmentator: Robust Segmentation of 104 Anatomic Structures in CT Images, Radiology:
Artificial Intelligence 2023.
"""

_REAL = """Dice on `ts_example_ct_sm`. It is a copy of the top 30 slices of `ts_example_ct`, so
those slices were cut from the training image: the voxels are unseen, the patient is not. Spleen
and most of the liver lie in the unseen slices alone.
"""


def card(task: Task, measured: dict[str, Any], trained_on: str, *, learned_real: bool) -> str:
    """The whole text. ``measured``: grid → class → n, mean, min of Dice."""
    text = _CARD.format(
        name=task.name,
        classes=_table(["class", "number"], [[n, str(v)] for n, v in task.numbers.items()]),
        notes=_NOTES[task.name],
        trained_on=trained_on,
        first=VALIDATION_SEEDS[0],
        last=VALIDATION_SEEDS[-1],
        features=list(task.features),
        patch=task.patch,
        spacing=task.spacing_mm,
        results=_results(measured),
    )
    return text + (_ATTRIBUTION if learned_real else "")


def _results(measured: dict[str, Any]) -> str:
    if not measured:
        return "Not measured yet.\n"
    parts: list[str] = []
    for grid, rows in measured.items():
        unseen = f"Dice on unseen phantoms (seeds from {UNSEEN_SEEDS[0]}), `{grid}` grid.\n"
        parts.append(_REAL if grid == "real" else unseen)
        body = [[n, str(r["n"]), f"{r['mean']:.3f}", f"{r['min']:.3f}"] for n, r in rows.items()]
        parts.append(_table(["class", "n", "mean", "min"], body))
    parts.append("Repeat: `python -m nephra_phantom.bundles evaluate`.\n")
    return "\n".join(parts)


def _table(head: list[str], body: list[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"
