"""Pictures of what the steps on masks do, before and after, on phantoms.

`python -m nephra_cli.demo.before_after DIR` draws those of the documentation anew.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nephra_cli.demo.overview import draw_slice, extent_mm
from nephra_cli.demo.picture import FRONT, Look, View, render
from nephra_cli.demo.surfaces import Surface, read_obj
from nephra_contract import labels as names
from nephra_contract.nifti import read_labels, write_image, write_labels
from nephra_contract.orientation import canonical
from nephra_contract.volume import LabelMap

_SEED = 90017
_INK, _PAPER = "#1d2430", "#ffffff"
_PX = (560, 700)
_BRIDGE = Look((0.10, 0.65, 0.30), 1.0)
_OBLIQUE = View("obliquely", (-0.94, 0.34, 0.0), (-0.05, -0.14, 0.99), (0.34, 0.93, 0.15))

Panel = tuple[str, Callable[[Any], None]]


@dataclass(frozen=True)
class Bench:
    """A data root to run operations on, without a server.

    Args:
        data: the folder.
    """

    data: Path

    def run(self, operation: str, **members: Any) -> Mapping[str, Any]:
        """Run one operation; gives its answer."""
        service, model = operation.split("/")
        given = [f"{name}={json.dumps(value)}" for name, value in members.items()]
        command = [sys.executable, "-m", f"nephra_{service}", "run", model, *given]
        done = subprocess.run(  # noqa: S603 - our own module, no shell
            [*command, "--data", str(self.data)], check=True, capture_output=True, text=True
        )
        answer: Mapping[str, Any] = json.loads(done.stdout)
        return answer

    def surfaces(self, mask_path: str, **members: Any) -> list[Surface]:
        """The smooth surfaces of a mask."""
        answer = self.run("smoothing/base", mask_path=mask_path, **members)
        return read_obj(self.data / str(answer["obj_path"]))

    def labels(self, path: str) -> LabelMap:
        """A mask of the data root, axes along right, front, head."""
        return canonical(read_labels(self.data / path))


def voxel_surface(labels: LabelMap, number: int) -> Surface:
    """Marching cubes (Lorensen & Cline 1987) on a label as it is: what others show."""
    from skimage.measure import marching_cubes

    padded = np.pad(labels.voxels == number, 1).astype(np.float32)
    vertices, faces, _, _ = marching_cubes(padded, 0.5, gradient_direction="descent")
    return Surface(names.name_of(number), labels.to_world(vertices - 1), faces.astype(np.int64))


def draw_smoothing(bench: Bench, path: Path) -> None:
    """Kidneys, their lesions and vessels in slices of 5 mm: voxels, and their smooth surfaces."""
    from nephra_phantom import Phantom, centred

    mask = Phantom(_SEED).labels(centred((440, 440, 60), (0.8, 0.8, 5.0)))
    write_labels(bench.data / "thick.nii.gz", mask)
    groups = ("kidney", "tumor", "cyst", "artery", "vein", "urinary")
    wanted = [n for g in groups for n in names.group(g) if n in mask.present]
    before = [voxel_surface(mask, n) for n in wanted]
    after = bench.surfaces("thick.nii.gz", structures=[names.name_of(n) for n in wanted])
    kidneys = [s for s in before if s.name.startswith("kidney")]
    frame_mm = np.concatenate([s.vertices for s in kidneys])
    looks = {names.name_of(n): _solid(n) for n in wanted}
    panels = [
        (title, _rendered(surfaces, _OBLIQUE, looks, frame_mm))
        for title, surfaces in (("mask, slices of 5 mm", before), ("smoothing/base", after))
    ]
    _write(path, panels, "One surface per structure, as thick as its voxels")


def draw_reconnection(bench: Bench, path: Path) -> None:
    """A severed tree of vessels, and the same rejoined."""
    from nephra_phantom.severed import write_cases

    write_cases(bench.data, quick=True)
    home = min((bench.data / "severed").iterdir())
    mask_path = str((home / "mask.nii.gz").relative_to(bench.data))
    answer = bench.run("postprocess/vessel", mask_path=mask_path, added=True)
    before, added = bench.surfaces(mask_path), bench.surfaces(str(answer["added_path"]))
    bridges = [Surface("bridges", s.vertices, s.faces) for s in added]
    looks = {s.name: Look(_solid(names.numbers()[s.name]).rgb, 1.0) for s in before}
    frame_mm = np.concatenate([s.vertices for s in before])
    panels = [
        ("severed, with noise", _rendered(before, FRONT, looks, frame_mm)),
        (
            "postprocess/vessel, bridges green",
            _rendered([*before, *bridges], FRONT, {**looks, "bridges": _BRIDGE}, frame_mm),
        ),
    ]
    _write(path, panels, "Tubes rejoined along plausible paths; noise is left alone")


def draw_fat(bench: Bench, path: Path) -> None:
    """The perirenal fat as an estimate, and with the CT."""
    from nephra_phantom import Phantom, centred

    phantom, grid = Phantom(_SEED), centred((220, 220, 150), (1.6, 1.6, 2.0))
    image, truth = phantom.volume("P", grid), phantom.labels(grid, "P")
    bare = truth.voxels * ~np.isin(truth.voxels, names.group("fat"))
    write_image(bench.data / "portal.nii.gz", image)
    write_labels(bench.data / "organs.nii.gz", truth.like(bare.astype(np.uint8)))
    estimate = bench.run("postprocess/fat", mask_path="organs.nii.gz")
    seen = bench.run("postprocess/fat", mask_path="organs.nii.gz", image_path="portal.nii.gz")
    centre_mm = truth.to_world(np.argwhere(truth.mask(names.KIDNEYS)).mean(axis=0)[None])[0]

    def slices(mask_path: str) -> Callable[[Any], None]:
        def show(axes: Any) -> None:
            volume = canonical(image)
            draw_slice(axes, volume, bench.labels(mask_path), 2, centre_mm[2])
            extent = extent_mm(volume)
            axes.set_xlim(*extent[0][::-1])
            axes.set_ylim(*extent[1])

        return show

    panels: list[Panel] = [
        ("before", slices("organs.nii.gz")),
        ("estimated, no CT", slices(str(estimate["mask_path"]))),
        ("with the CT", slices(str(seen["mask_path"]))),
    ]
    _write(path, panels, "postprocess/fat: the perirenal space, per side")


def draw_sample(bench: Bench, path: Path) -> None:
    """Kidneys and tumour alone, and with the anatomy of a template around them."""
    from nephra_phantom import Phantom, centred

    truth = Phantom(_SEED).labels(centred((220, 220, 150), (1.6, 1.6, 2.0)))
    known = np.where(truth.mask((*names.KIDNEYS, names.TUMOR)), truth.voxels, 0)
    write_labels(bench.data / "kidneys.nii.gz", truth.like(known.astype(np.uint8)))
    answer = bench.run("postprocess/sample", mask_path="kidneys.nii.gz", quality="high")
    before = bench.surfaces("kidneys.nii.gz")
    after = bench.surfaces(str(answer["mask_path"]))
    frame_mm = 1.9 * (
        np.concatenate([s.vertices for s in before]) - (middle := before[0].vertices.mean(axis=0))
    )
    panels = [
        (title, _rendered(surfaces, FRONT, {}, frame_mm + middle))
        for title, surfaces in (("before", before), ("postprocess/sample, quality high", after))
    ]
    _write(path, panels, "A template's anatomy carried to a patient's kidneys")


PICTURES: Mapping[str, Callable[[Bench, Path], None]] = {
    "reconnection": draw_reconnection,
    "fat": draw_fat,
    "sample": draw_sample,
    "smoothing": draw_smoothing,
}


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m nephra_cli.demo.before_after")
    parser.add_argument("folder", type=Path, help="where the PNGs go; made if absent")
    parser.add_argument("--only", action="append", choices=tuple(PICTURES))
    asked = parser.parse_args(argv)
    asked.folder.mkdir(parents=True, exist_ok=True)
    for name in asked.only or PICTURES:
        with tempfile.TemporaryDirectory(prefix="nephra-pictures-") as data:
            PICTURES[name](Bench(Path(data)), asked.folder / f"{name}.png")
    return 0


def _rendered(
    surfaces: Sequence[Surface],
    view: View,
    looks: Mapping[str, Look],
    frame_mm: NDArray[np.float64],
) -> Callable[[Any], None]:
    def show(axes: Any) -> None:
        axes.imshow(render(surfaces, view, _PX, looks, frame_mm), interpolation="antialiased")
        axes.set_axis_off()

    return show


def _solid(number: int) -> Look:
    red, green, blue, _ = names.table()[number].rgba
    return Look((red, green, blue), 1.0)


def _write(path: Path, panels: Sequence[Panel], title: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.2 * len(panels), 5.8), dpi=90, facecolor=_PAPER)
    FigureCanvasAgg(figure)
    for number, (name, show) in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), number)
        show(axes)
        axes.set_title(name, fontsize=13, color=_INK, pad=6)
    figure.suptitle(title, fontsize=15, color=_INK, weight="bold")
    figure.subplots_adjust(left=0.01, right=0.99, top=0.86, bottom=0.02, wspace=0.03)
    figure.savefig(path, format="png", facecolor=_PAPER)


if __name__ == "__main__":
    raise SystemExit(main())
