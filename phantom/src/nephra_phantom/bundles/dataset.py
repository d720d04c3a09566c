"""Phantoms as an nnU-Net raw data set, with scanners, grids and fields of view varied."""

from __future__ import annotations

import json
from multiprocessing import Pool
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.openers import Opener
from numpy.typing import NDArray

from nephra_phantom.bundles.real_ct import RealCt, write_variant
from nephra_phantom.bundles.tasks import TRAINING_SEEDS, VALIDATION_SEEDS, Task
from nephra_phantom.fills import Phase
from nephra_phantom.grid import FIELD_OF_VIEW_MM, PRESETS, Grid, centred
from nephra_phantom.noise import Noise
from nephra_phantom.phantom import Phantom

READER = "NibabelIOWithReorient"
REAL_VARIANTS = 56


def write_raw(task: Task, raw: Path, real: RealCt | None, processes: int = 2) -> None:
    """Write the data set; its description comes last, when all is there."""
    folder = raw / task.dataset_name
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    seeds = [*TRAINING_SEEDS[: task.cases], *VALIDATION_SEEDS]
    count = len(seeds)
    jobs = [(task, folder, seed) for seed in seeds]
    with Pool(processes) as pool:
        pool.starmap(write_case, jobs, chunksize=2)
        if task.uses_real_ct and real is not None:
            variants = [(real, task, folder, n) for n in range(REAL_VARIANTS)]
            pool.starmap(write_variant, variants, chunksize=4)
            count += REAL_VARIANTS
    _write_description(task, folder, count)


def _write_description(task: Task, folder: Path, count: int) -> None:
    description = {
        "channel_names": {str(n): "CT" for n in range(len(task.inputs))},
        "labels": task.labels,
        "numTraining": count,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": READER,
    }
    (folder / "dataset.json").write_text(json.dumps(description, indent=2) + "\n")


def write_case(task: Task, folder: Path, seed: int) -> None:
    """One phantom: its channels and its target, on a grid drawn for it."""
    rng = np.random.default_rng([seed, 40])
    phantom = Phantom(seed)
    grid, resampled = draw_grid(task.spacing_mm, rng)
    phases = draw_phases(task, rng)
    # At the network's own spacing, edges and noise stand for what resampling leaves of any scan.
    blur = None if resampled else float(rng.uniform(0.25, 1.15) * task.spacing_mm)
    for channel, phase in enumerate(phases):
        noise = draw_noise(seed, channel, rng)
        image = phantom.volume(phase, grid, noise, blur).voxels
        save(folder / "imagesTr" / f"seed{seed}_{channel:04d}.nii.gz", image, grid)
    target = task.target(phantom.labels(grid, phases[0]).voxels)
    save(folder / "labelsTr" / f"seed{seed}.nii.gz", target, grid)


def draw_noise(seed: int, channel: int, rng: np.random.Generator) -> Noise:
    """Draw a scan's noise, from very quiet to the worst."""
    sigma = float(np.exp(rng.uniform(np.log(4), np.log(26))))
    return Noise(sigma, float(rng.uniform(0, 0.7)), (seed, 50, channel))


def draw_phases(task: Task, rng: np.random.Generator) -> list[Phase]:
    """Draw each channel's phase among those it may be."""
    return [
        (*choices, *task.extra_phases)[int(rng.integers(len(choices) + len(task.extra_phases)))]
        for choices in task.inputs
    ]


def draw_grid(spacing_mm: float, rng: np.random.Generator) -> tuple[Grid, bool]:
    """Draw a grid and whether nnU-Net has to resample it: most are at the network's spacing."""
    kind = rng.uniform()
    if kind < 0.12:
        return PRESETS["small"], True
    if kind < 0.18:
        return centred((160, 160, 60), (2.2, 2.2, 5.0)), True
    extent = np.array(FIELD_OF_VIEW_MM) * np.array([1, 1, rng.uniform(0.75, 1.0)])
    shape = np.ceil(extent / spacing_mm).astype(int)
    grid = centred((int(shape[0]), int(shape[1]), int(shape[2])), (spacing_mm,) * 3)
    slack = (FIELD_OF_VIEW_MM[2] - extent[2]) / 2
    affine = grid.affine.copy()
    affine[:3, 3] += rng.uniform(-1, 1, 3) * np.array([8, 8, slack + 1])
    return Grid(grid.shape, affine), False


def save(path: Path, voxels: NDArray[np.int16] | NDArray[np.uint8], grid: Grid) -> None:
    """Write NIfTI, fast rather than small."""
    image = nib.Nifti1Image(voxels, grid.affine)
    Opener.default_compresslevel = 1
    nib.save(image, str(path))
