"""Cases to measure on, as files: masks with their truth. `python -m nephra_phantom.cases DIR`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from nephra_contract import labels as names
from nephra_contract.nifti import write_labels
from nephra_phantom.body import body
from nephra_phantom.grid import centred
from nephra_phantom.phantom import Phantom
from nephra_phantom.severed import whole_tree
from nephra_phantom.severed import write_cases as write_severed

#: Patients whose surfaces are measured; no other code of nephra looks at these.
SEEDS = (52001, 52002, 52003)
#: In a plane, and between slices; thick ones are those of older scans. Millimetres.
_PIXEL_MM, _SLICES_MM = 0.8, (0.8, 5.0)
_EXTENT_MM = (352.0, 352.0, 300.0)


def write_phantoms(folder: Path, quick: bool) -> None:
    """Masks at each spacing, and the true surfaces of all that they hold.

    Writes `phantoms/<seed>-<slice>mm/`: `mask.nii.gz`; `surfaces/<structure>.npz` with `vertices`
    (N, 3) RAS+ mm and `faces` (M, 3), outward; `case.json` with the seed and the spacing.
    """
    for seed in SEEDS[:1] if quick else SEEDS:
        phantom = Phantom(seed)
        surfaces = None
        for slice_mm in _SLICES_MM:
            home = folder / "phantoms" / f"{seed}-{slice_mm:g}mm"
            (home / "surfaces").mkdir(parents=True)
            pixel_mm = 3 * _PIXEL_MM if quick else _PIXEL_MM
            spacing_mm = (pixel_mm, pixel_mm, max(slice_mm, pixel_mm))
            shape = [int(e / s) for e, s in zip(_EXTENT_MM, spacing_mm, strict=True)]
            mask = phantom.labels(centred((shape[0], shape[1], shape[2]), spacing_mm))
            write_labels(home / "mask.nii.gz", mask)
            if surfaces is None:
                surfaces = {n: phantom.surface(n, pixel_mm / 1.6) for n in _measured(mask.present)}
            for number, surface in surfaces.items():
                np.savez(
                    home / "surfaces" / f"{names.name_of(number)}.npz",
                    vertices=surface.vertices,
                    faces=surface.faces,
                )
            said = {"seed": seed, "spacing_mm": spacing_mm}
            (home / "case.json").write_text(json.dumps(said), encoding="utf-8")


def write_tree(folder: Path, quick: bool) -> None:
    """`large/tree.nii.gz`: a whole arterial tree in 512 x 512 x 500 voxels of 0.8 mm."""
    shape = (160, 160, 160) if quick else (512, 512, 500)
    _large(folder)
    write_labels(folder / "large" / "tree.nii.gz", whole_tree(shape, (0.8, 0.8, 0.8)))


def write_abdomen(folder: Path, quick: bool) -> None:
    """`large/fat.nii.gz`: kidneys among organs in 611 x 512 x 512 voxels."""
    shape = (152, 128, 128) if quick else (611, 512, 512)
    spacing_mm = tuple(e / n for e, n in zip((420.0, 352.0, 352.0), shape, strict=True))
    phantom = Phantom(SEEDS[0])
    mask = phantom.labels(centred(shape, (spacing_mm[0], spacing_mm[1], spacing_mm[2])))
    # The fat is what is measured.
    voxels = np.where(mask.voxels == names.PERIRENAL_FAT, 0, mask.voxels).astype(np.uint8)
    _large(folder)
    write_labels(folder / "large" / "fat.nii.gz", mask.like(voxels))


def write_body(folder: Path, quick: bool) -> None:
    """`large/body.nii.gz`: 117 structures in 512 x 512 x 300 voxels."""
    shape, spacing_mm = (512, 512, 300), (0.8, 0.8, 1.5)
    if quick:
        shape, spacing_mm = (128, 128, 75), (3.2, 3.2, 6.0)
    _large(folder)
    write_labels(folder / "large" / "body.nii.gz", body(shape, spacing_mm, SEEDS[0]))


#: By the topic of a benchmark, what it is measured on.
CASES: Mapping[str, Sequence[Callable[[Path, bool], None]]] = {
    "reconnection": (write_severed, write_tree),
    "fat": (write_abdomen,),
    "sample": (),
    "smoothing": (write_phantoms, write_body, write_tree),
    "joint": (write_body,),
}


def write_cases(folder: Path, topics: Sequence[str], quick: bool) -> None:
    """Write what some topics are measured on.

    Args:
        folder: where; it exists, and is empty.
        topics: of `CASES`.
        quick: small and few.
    """
    for write in dict.fromkeys(w for topic in topics for w in CASES[topic]):
        write(folder, quick)


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m nephra_phantom.cases", description=__doc__)
    parser.add_argument("folder", type=Path, help="where to; made if absent")
    parser.add_argument("--topic", action="append", choices=tuple(CASES), help="default: all")
    parser.add_argument("--quick", action="store_true", help="small and few")
    asked = parser.parse_args(argv)
    asked.folder.mkdir(parents=True, exist_ok=True)
    write_cases(asked.folder, asked.topic or list(CASES), asked.quick)
    return 0


def _measured(present: Sequence[int]) -> list[int]:
    """Structures with a surface of their own; fat fills what others leave."""
    return [n for n in present if names.table()[n].group not in ("fat", "muscle", "other")]


def _large(folder: Path) -> None:
    (folder / "large").mkdir(parents=True, exist_ok=True)


if __name__ == "__main__":
    raise SystemExit(main())
