"""Cases of severed tubes with their truth, written as files for the benchmark.

A case is a folder: `mask.nii.gz` is what an operation is given, `truth.nii.gz` (uint16) says what
was taken away and what was added: voxels that cut n has removed are n, those of noise piece m are
`NOISE` + m, all else 0. `case.json` lists cuts and pieces.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nephra_contract.nifti import write_image, write_labels
from nephra_contract.volume import LabelMap, Volume
from nephra_phantom.grid import Grid, centred
from nephra_phantom.phantom import Phantom
from nephra_phantom.severed_cuts import Cut, sever
from nephra_phantom.severed_noise import Noise, scatter
from nephra_phantom.shapes import Tube
from nephra_phantom.vasculature import Habit, grid_of, grow
from nephra_phantom.vasculature_grid import paint

NOISE = 1000
SPACINGS_MM: dict[str, tuple[float, float, float]] = {
    "iso": (0.8, 0.8, 0.8),
    "thick": (0.8, 0.8, 2.5),
}
#: Cases of the benchmark begin at this seed; nothing is developed with them.
BENCH_SEED = 95_000
_ARTERY, _VEIN = 203, 204
_FIELD_MM = (180.0, 140.0, 290.0)

#: Structures of the phantom: operation, `structures`, names of its centre lines, labels.
_KINDS: dict[str, tuple[str, list[str], tuple[str, ...], tuple[int, ...]]] = {
    "artery": ("vessel", ["artery"], ("aorta", "renal_artery", "iliac_artery"), (52, 203)),
    "vein": ("vessel", ["vein"], ("inferior_vena_cava", "renal_vein", "iliac_vein"), (63, 204)),
    "ureter": ("ureter", [], ("ureter",), (206, 207)),
}


@dataclass(frozen=True)
class Severed:
    """One case.

    Args:
        name: of its folder.
        operation: `vessel` or `ureter`.
        structures: what the request names; empty for the ureters.
        mask: what is to be mended, with noise.
        cuts: what was taken away.
        noise: what was added.
    """

    name: str
    operation: str
    structures: list[str]
    mask: LabelMap
    cuts: list[Cut]
    noise: list[Noise]

    def truth(self) -> NDArray[np.uint16]:
        """(i, j, k) number of the cut, `NOISE` + number of the false piece, or 0."""
        found = np.zeros(self.mask.shape, np.uint16)
        for number, cut in enumerate(self.cuts, 1):
            found[tuple(cut.removed.T)] = number
        for number, piece in enumerate(self.noise, 1):
            found[tuple(piece.voxels.T)] = NOISE + number
        return found

    def describe(self, spacing: str) -> dict[str, Any]:
        """What stands in `case.json`."""
        return {
            "operation": self.operation,
            "structures": self.structures,
            "spacing": spacing,
            "spacing_mm": list(self.mask.spacing_mm),
            "noise_from": NOISE,
            "cuts": [
                {
                    "number": n,
                    "gap_mm": round(c.gap_mm, 2),
                    "radius_mm": round(c.radius_mm, 2),
                    "endings": list(c.endings),
                    "ends_mm": np.round(c.ends_mm, 3).tolist(),
                    "directions": np.round(c.directions, 4).tolist(),
                    "sides_mm": np.round(c.sides_mm, 3).tolist(),
                    "voxels": len(c.removed),
                }
                for n, c in enumerate(self.cuts, 1)
            ],
            "noise": [
                {"number": NOISE + n, "kind": p.kind, "voxels": len(p.voxels)}
                for n, p in enumerate(self.noise, 1)
            ],
        }


def write_cases(folder: Path, quick: bool, first_seed: int = BENCH_SEED) -> None:
    """Write the benchmark's cases to `folder/severed/<case>/`; at least 150 cuts per spacing.

    Args:
        folder: is there.
        quick: a few of them only.
        first_seed: other seeds are other trees.
    """
    for spacing in SPACINGS_MM:
        for case in cases(spacing, first_seed, quick):
            home = folder / "severed" / f"{case.name}-{spacing}"
            home.mkdir(parents=True, exist_ok=True)
            write_labels(home / "mask.nii.gz", case.mask)
            write_image(home / "truth.nii.gz", Volume(case.truth(), case.mask.affine))
            text = json.dumps(case.describe(spacing), indent=1)
            (home / "case.json").write_text(text + "\n", encoding="utf-8")


def cases(spacing: str, first_seed: int, quick: bool = False) -> Iterator[Severed]:
    """Drawn trees, mostly arteries; then arteries, veins and ureters of phantoms."""
    for n in range(2 if quick else 20):
        yield drawn(first_seed + n, SPACINGS_MM[spacing])
    kinds = ["artery"] if quick else ["artery", "vein", "ureter"] * 3
    for n, kind in enumerate(kinds):
        yield of_phantom(first_seed + 100 + n // 3, kind, SPACINGS_MM[spacing])


def drawn(seed: int, spacing_mm: tuple[float, float, float]) -> Severed:
    """A drawn tree, cut at several places, with noise around."""
    rng = np.random.default_rng([seed, 11])
    side = float(rng.uniform(110, 160))
    wide = rng.uniform() < 0.3
    habit = Habit(
        (side, float(rng.uniform(110, 160)), side),
        trunk_radius_mm=(8.0, 12.5) if wide else (4.0, 9.0),
        trunk_length_mm=(60.0, 100.0) if wide else (80.0, 150.0),
        tortuosity=float(rng.uniform(0.2, 0.5)),
    )
    number = _VEIN if seed % 5 == 4 else _ARTERY
    tubes, grid = grow(seed, habit), grid_of(habit, spacing_mm)
    voxels = np.zeros(grid.shape, np.uint8)
    paint(voxels, grid, tubes, number)
    # Below a voxel's size a vessel is not a tube any more, but a row of specks.
    cuts, noise = _damage(voxels, grid, tubes, (number,), (10, 16), rng, 0.6 * min(spacing_mm))
    structures = ["vein"] if number == _VEIN else ["artery"]
    return Severed(
        f"drawn-{seed}", "vessel", structures, LabelMap(voxels, grid.affine), cuts, noise
    )


def of_phantom(seed: int, kind: str, spacing_mm: tuple[float, float, float]) -> Severed:
    """The arteries, veins or ureters of a phantom, cut at several places, with noise around."""
    rng = np.random.default_rng([seed, 12])
    operation, structures, prefixes, numbers = _KINDS[kind]
    shape = [round(f / s) for f, s in zip(_FIELD_MM, spacing_mm, strict=True)]
    grid = centred((shape[0], shape[1], shape[2]), spacing_mm)
    phantom = Phantom(seed)
    voxels = phantom.labels(grid).voxels
    tubes = [t for n, ts in phantom.centerlines().items() if n.startswith(prefixes) for t in ts]
    cuts, noise = _damage(voxels, grid, tubes, numbers, (6, 14), rng, 0.6 * min(spacing_mm))
    mask = LabelMap(voxels, grid.affine)
    return Severed(f"phantom-{kind}-{seed}", operation, structures, mask, cuts, noise)


def whole_tree(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], seed: int = BENCH_SEED
) -> LabelMap:
    """A large arterial tree, tens of metres of vessels, severed at fifty places, with noise."""
    rng = np.random.default_rng([seed, 13])
    extent = [n * s for n, s in zip(shape, spacing_mm, strict=True)]
    habit = Habit(
        (extent[0], extent[1], extent[2]),
        trunk_radius_mm=(11.0, 13.0),
        trunk_length_mm=(0.7 * extent[2], 0.8 * extent[2]),
        side_every_radii=(2.5, 6.0),
        length_radii=(14.0, 30.0),
        most_mm=30_000.0,
    )
    affine = np.diag([*spacing_mm, 1.0])
    grid = Grid(shape, affine)
    tubes = grow(seed, habit)
    voxels = np.zeros(shape, np.uint8)
    paint(voxels, grid, tubes, _ARTERY)
    whole = voxels > 0
    severed = whole.copy()
    cuts = sever(severed, grid, tubes, 50, rng, proven=False)
    voxels[whole & ~severed] = 0
    for piece in scatter(whole, grid, _near(cuts), 300, rng):
        voxels[tuple(piece.voxels.T)] = _ARTERY
    return LabelMap(voxels, affine)


def _damage(
    voxels: NDArray[np.uint8],
    grid: Grid,
    tubes: list[Tube],
    numbers: tuple[int, ...],
    wanted: tuple[int, int],
    rng: np.random.Generator,
    least_radius_mm: float,
) -> tuple[list[Cut], list[Noise]]:
    """Cut the tree of some labels, and scatter noise of its first label around it."""
    whole = np.isin(voxels, numbers)
    severed = whole.copy()
    count = int(rng.integers(wanted[0], wanted[1]))
    cuts = sever(severed, grid, tubes, count, rng, least_radius_mm)
    taken = whole.copy()
    noise = scatter(taken, grid, _near(cuts), int(rng.integers(14, 26)), rng)
    voxels[whole & ~severed] = 0
    for piece in noise:
        voxels[tuple(piece.voxels.T)] = numbers[-1]
    return cuts, noise


def _near(cuts: list[Cut]) -> NDArray[np.float64]:
    """(n, 4) middles and radii of the gaps."""
    rows = [[*c.sides_mm.mean(axis=0), c.radius_mm] for c in cuts]
    return np.array(rows, dtype=np.float64).reshape(-1, 4)
