"""The one real CT that the totalseg model may also learn from, varied heavily.

The folder is given by an option and is no part of the project. Its upper abdomen (the slices that
``ts_example_ct_sm`` is a copy of) is cut away, so that those can serve as the unseen test.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates

from nephra_phantom.bundles.tasks import Task
from nephra_phantom.grid import Array

HELD_OUT_SLICES = 30
CONTROL_MM = 36.0


@dataclass(frozen=True)
class RealCt:
    """Folder of the TotalSegmentator example (Wasserthal 2023, Apache-2.0)."""

    folder: Path

    @property
    def complete(self) -> bool:
        """Whether all files are there."""
        names = (
            "ts_example_ct.nii.gz",
            "ts_example_ct_seg_v1.nii.gz",
            "class_map_total_v1.json",
            "ts_example_ct_sm.nii.gz",
            "ts_example_ct_sm_seg_v2.nii.gz",
            "class_map_total_v2.json",
        )
        return all((self.folder / name).exists() for name in names)

    def training(self, task: Task) -> tuple[Array, NDArray[np.uint8], NDArray[np.float64]]:
        """Image in HU, target classes and affine, without the held-out slices at the top."""
        image, target, affine = self._load(
            task, "ts_example_ct.nii.gz", "ts_example_ct_seg_v1.nii.gz", "class_map_total_v1.json"
        )
        return image[:, :, :-HELD_OUT_SLICES], target[:, :, :-HELD_OUT_SLICES], affine

    def unseen(self, task: Task) -> tuple[Array, NDArray[np.uint8], NDArray[np.float64]]:
        """Image in HU, target classes and affine of the held-out upper abdomen."""
        return self._load(
            task,
            "ts_example_ct_sm.nii.gz",
            "ts_example_ct_sm_seg_v2.nii.gz",
            "class_map_total_v2.json",
        )

    def _load(
        self, task: Task, image: str, labels: str, names: str
    ) -> tuple[Array, NDArray[np.uint8], NDArray[np.float64]]:
        loaded: Any = nib.load(str(self.folder / image))
        reference: Any = nib.load(str(self.folder / labels))
        table = np.zeros(256, np.uint8)
        for number, name in json.loads((self.folder / names).read_text()).items():
            wanted = class_of(name)
            if wanted in task.labels:
                table[int(number)] = task.labels[wanted]
        target = table[np.asarray(reference.dataobj).astype(np.uint8)]
        return np.asarray(loaded.dataobj, dtype=np.float32), target, loaded.affine


def class_of(name: str) -> str:
    """Our class name for a TotalSegmentator class name."""
    if name.startswith(("vertebrae_", "sacrum")):
        return "spine"
    if name.startswith("rib_"):
        return "ribs"
    if name.startswith("kidney_"):
        return "kidney" if name in ("kidney_left", "kidney_right") else name
    return name


def write_variant(real: RealCt, task: Task, folder: Path, number: int) -> None:
    """One heavily varied copy: bent, turned, scaled, with other contrast, noise and sharpness."""
    rng = np.random.default_rng([7000, number])
    image, target, affine = real.training(task)
    image, target = bend(image, target, rng)
    image = recolour(image, target, task, rng)
    voxels = np.clip(np.rint(image), -1024, 3071).astype(np.int16)
    nib.save(
        nib.Nifti1Image(voxels, affine), str(folder / "imagesTr" / f"real{number:03d}_0000.nii.gz")
    )
    nib.save(nib.Nifti1Image(target, affine), str(folder / "labelsTr" / f"real{number:03d}.nii.gz"))


def bend(
    image: Array, target: NDArray[np.uint8], rng: np.random.Generator
) -> tuple[Array, NDArray[np.uint8]]:
    """Elastic and affine change of both: bends of some mm, scale 0.85-1.2, turns of 12 degrees."""
    shape = image.shape
    where = np.stack(np.meshgrid(*[np.arange(n, dtype=np.float32) for n in shape], indexing="ij"))
    middle = np.array(shape, np.float32)[:, None, None, None] / 2
    turn = np.eye(3) + np.deg2rad(rng.normal(0, 6, (3, 3)))
    turn *= rng.uniform(0.85, 1.2, 3)[:, None]
    where = np.einsum("ij,jxyz->ixyz", turn.astype(np.float32), where - middle) + middle
    for axis in range(3):
        wave = gaussian_filter(rng.standard_normal(shape).astype(np.float32), CONTROL_MM / 9)
        where[axis] += wave * np.float32(rng.uniform(0.3, 1.6) / wave.std())
    bent = map_coordinates(image, where, order=1, cval=-1024)
    return bent, map_coordinates(target, where, order=0, cval=0)


def recolour(
    image: Array, target: NDArray[np.uint8], task: Task, rng: np.random.Generator
) -> Array:
    """Another contrast phase per organ, another sharpness, more noise."""
    lift = {"kidney": 150, "aorta": 240, "inferior_vena_cava": 120, "spleen": 70, "liver": 55}
    strength = rng.uniform(0, 1) if rng.uniform() < 0.6 else 0.0
    gain = np.zeros(len(task.labels), np.float32)
    for name, hu in lift.items():
        gain[task.labels[name]] = hu * strength * rng.uniform(0.2, 1.1)
    added = gaussian_filter(gain[target], 0.6)
    softened = gaussian_filter(image, float(rng.uniform(0, 0.6))) + added
    noise = rng.standard_normal(image.shape).astype(np.float32) * rng.uniform(0, 20)
    return np.asarray(softened * rng.uniform(0.93, 1.07) + rng.uniform(-15, 15) + noise, np.float32)
