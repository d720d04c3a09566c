"""Dice of a bundle on phantoms it never saw, with the stock nnU-Net predictor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nephra_phantom.bundles.export import learned_real_ct, write_yaml
from nephra_phantom.bundles.real_ct import RealCt
from nephra_phantom.bundles.tasks import UNSEEN_SEEDS, Task
from nephra_phantom.grid import PRESETS, Array
from nephra_phantom.phantom import Phantom

Table = dict[str, dict[str, float]]


def evaluate(
    task: Task, bundles: Path, real: RealCt | None, grids: list[str], cases: int, threads: int
) -> dict[str, Table]:
    """Measure, print, and write the numbers into the bundle's description and card.

    The large grid takes minutes a case: a quarter of ``cases`` is measured on it.
    """
    folder = bundles / task.name
    learned_real = learned_real_ct(folder)
    predictor = load(folder, threads)
    measured: dict[str, Table] = {}
    for grid in [*grids[:1], "real", *grids[1:]]:
        if grid == "real":
            rows = [_real_dice(task, predictor, real)] if task.uses_real_ct and real else []
        else:
            seeds = UNSEEN_SEEDS[: cases if grid == "small" else max(1, cases // 4)]
            rows = [_phantom_dice(task, predictor, seed, grid) for seed in seeds]
        if rows:
            measured[grid] = summary(task, rows)
            _show(task, grid, measured[grid])
            write_yaml(task, folder, measured, learned_real=learned_real)
    return measured


def _show(task: Task, grid: str, table: Table) -> None:
    for name, row in table.items():
        text = f"{row['mean']:.3f} (min {row['min']:.3f}, n={row['n']})"
        print(f"{task.name} {grid} {name}: {text}", flush=True)  # noqa: T201


def load(folder: Path, threads: int) -> Any:
    """The bundle in nnU-Net's own predictor, on the CPU in fp32, without mirroring."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    torch.set_num_threads(threads)
    predictor = nnUNetPredictor(
        tile_step_size=0.5,
        use_mirroring=False,
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    predictor.initialize_from_trained_model_folder(str(folder), (0,), "checkpoint_final.pth")
    return predictor


def predict(predictor: Any, channels: list[Array], spacing_mm: list[float]) -> NDArray[np.uint8]:
    """Class numbers (i, j, k) for channels (i, j, k) in RAS+ order."""
    # nnU-Net's readers hand over (k, j, i).
    stacked = np.stack([image.transpose(2, 1, 0) for image in channels]).astype(np.float32)
    properties = {"spacing": spacing_mm[::-1]}
    found = predictor.predict_single_npy_array(stacked, properties, None, None, False)
    return np.asarray(found, dtype=np.uint8).transpose(2, 1, 0)


def _real_dice(task: Task, predictor: Any, real: RealCt) -> dict[str, float]:
    image, target, affine = real.unseen(task)
    spacing = [float(np.linalg.norm(affine[:3, n])) for n in range(3)]
    return dice(task, predict(predictor, [image], spacing), target)


def _phantom_dice(task: Task, predictor: Any, seed: int, grid_name: str) -> dict[str, float]:
    grid = PRESETS[grid_name]
    phantom = Phantom(seed)
    # Where a channel may be any phase, seeds take turns.
    phases = [choices[seed % len(choices)] for choices in task.inputs]
    channels = [phantom.volume(phase, grid).voxels.astype(np.float32) for phase in phases]
    found = predict(predictor, channels, [float(s) for s in grid.spacing_mm])
    return dice(task, found, task.target(phantom.labels(grid, phases[0]).voxels))


def dice(task: Task, found: NDArray[np.uint8], target: NDArray[np.uint8]) -> dict[str, float]:
    """Dice per class that the target has."""
    scores: dict[str, float] = {}
    for name, number in task.labels.items():
        truth = target == number
        if number == 0 or not truth.any():
            continue
        guess = found == number
        scores[name] = float(2 * (truth & guess).sum() / (truth.sum() + guess.sum()))
    return scores


def summary(task: Task, rows: list[dict[str, float]]) -> Table:
    """Count, mean and worst Dice per class."""
    table: Table = {}
    for name in task.classes:
        values = [row[name] for row in rows if name in row]
        if values:
            table[name] = {"n": len(values), "mean": float(np.mean(values)), "min": min(values)}
    return table
