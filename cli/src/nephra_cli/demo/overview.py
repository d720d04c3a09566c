"""One picture of a case: slices with outlines, and the scene from the front and the side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nephra_cli.demo.picture import FRONT, LEFT, is_drawn, render
from nephra_cli.demo.surfaces import Surface
from nephra_contract import labels as names
from nephra_contract.labels import table
from nephra_contract.merge import regrid
from nephra_contract.orientation import canonical
from nephra_contract.volume import LabelMap, Volume

PHASE_NAMES: Mapping[str, str] = {"A": "arterial", "P": "portal venous", "D": "delayed"}

#: Soft-tissue window of CT reading rooms, a little wider for contrast medium.
_WINDOW_HU = (-120, 280)
_INK, _PAPER = "#1d2430", "#ffffff"
_FRONT_PX, _SIDE_PX = (820, 640), (820, 450)

_AIR_HU = -300
_RIM_MM = 8.0


def write_overview(
    path: Path,
    images: Mapping[str, Volume],
    mask: LabelMap,
    surfaces: Sequence[Surface],
    title: str,
) -> None:
    """Draw and write the picture.

    Args:
        path: of the PNG.
        images: phase → CT in HU, any grids.
        mask: the whole anatomy.
        surfaces: the scene.
        title: one line above everything.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(20, 8.4), dpi=90, facecolor=_PAPER)
    FigureCanvasAgg(figure)
    parts = figure.add_gridspec(
        1,
        3,
        width_ratios=[1.62, *(width / height for height, width in (_FRONT_PX, _SIDE_PX))],
        left=0.008,
        right=0.995,
        top=0.91,
        bottom=0.135,
        wspace=0.015,
    )
    _draw_slices(figure, parts[0, 0], images, mask)
    for column, (view, size_px) in enumerate(((FRONT, _FRONT_PX), (LEFT, _SIDE_PX))):
        axes = figure.add_subplot(parts[0, 1 + column])
        axes.imshow(render(surfaces, view, size_px), interpolation="antialiased")
        axes.set_axis_off()
        axes.set_title(view.name, fontsize=14, color=_INK, pad=5)
        _mark_sides(axes, ("R", "L") if view is FRONT else ("A", "P"), _INK)
    _draw_legend(figure, mask, surfaces)
    figure.suptitle(title, fontsize=19, color=_INK, x=0.012, y=0.985, ha="left", weight="bold")
    partial = path.with_name(f".{path.name}")
    figure.savefig(partial, format="png", facecolor=_PAPER)
    partial.replace(path)


def _draw_slices(figure: Any, place: Any, images: Mapping[str, Volume], mask: LabelMap) -> None:
    """A column for each phase: the axial slice above the coronal one."""
    centre_mm = _centre_mm(mask)
    volumes = {phase: canonical(image) for phase, image in images.items()}
    reach_mm = extent_mm(next(iter(volumes.values())))
    heights = [float(np.diff(reach_mm[axis])[0]) for axis in (1, 2)]
    grid = place.subgridspec(2, len(images), height_ratios=heights, wspace=0.02, hspace=0.03)
    for column, (phase, volume) in enumerate(volumes.items()):
        outlines = canonical(regrid(mask, volume))
        for row, axis in enumerate((2, 1)):
            axes = figure.add_subplot(grid[row, column])
            draw_slice(axes, volume, outlines, axis, centre_mm[axis])
            axes.set_xlim(*reach_mm[0][::-1])
            axes.set_ylim(*reach_mm[1 if axis == 2 else 2])
            if row == 0:
                axes.set_title(PHASE_NAMES.get(phase, phase), fontsize=14, color=_INK, pad=5)


def extent_mm(volume: Volume) -> NDArray[np.float64]:
    """(3, 2) from where to where the patient reaches along each world axis, table left out."""
    body = volume.voxels > _AIR_HU
    extent = np.empty((3, 2))
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        share = body.mean(axis=others)
        inside = np.flatnonzero(share > 0.15 * share.max())
        ends = inside[[0, -1]] if inside.size else np.array([0, volume.shape[axis] - 1])
        extent[axis] = volume.affine[axis, 3] + volume.affine[axis, axis] * ends
        extent[axis] += (-_RIM_MM, _RIM_MM) if axis < 2 else (0, 0)
    return extent


def _centre_mm(mask: LabelMap) -> NDArray[np.float64]:
    """Where to cut: through the tumour, or else the kidneys, or else the middle."""
    for wanted in ((names.TUMOR,), names.KIDNEYS):
        where = np.argwhere(mask.mask(wanted))
        if len(where):
            return np.ravel(mask.to_world(np.median(where, axis=0)[None]))
    return np.ravel(mask.to_world((np.array(mask.shape)[None] - 1) / 2))


def draw_slice(axes: Any, volume: Volume, mask: LabelMap, axis: int, at_mm: float) -> None:
    """An axial (axis 2) or coronal (axis 1) slice, the patient's right on the left side."""
    step_mm = volume.affine[axis, axis]
    index = round(float((at_mm - volume.affine[axis, 3]) / step_mm))
    index = min(max(index, 0), volume.shape[axis] - 1)
    row_axis = 1 if axis == 2 else 2
    ct = np.take(volume.voxels, index, axis=axis).T
    labels = np.take(mask.voxels, index, axis=axis).T
    x_mm, row_mm = (
        volume.affine[a, 3] + volume.affine[a, a] * np.arange(volume.shape[a])
        for a in (0, row_axis)
    )
    low, high = _WINDOW_HU
    axes.pcolorfast(_edges(x_mm), _edges(row_mm), ct, cmap="gray", vmin=low, vmax=high)
    axes.set_aspect("equal")
    for number in np.unique(labels):
        if number and table()[int(number)].group != "muscle":
            colour = table()[int(number)].rgba[:3]
            axes.contour(
                x_mm, row_mm, labels == number, levels=[0.5], colors=[colour], linewidths=1.2
            )
    axes.set_facecolor("black")
    axes.set_xticks([])
    axes.set_yticks([])
    _mark_sides(axes, ("R", "L"), "white")


def _edges(centres_mm: NDArray[np.float64]) -> tuple[float, float]:
    half = (centres_mm[1] - centres_mm[0]) / 2
    return float(centres_mm[0] - half), float(centres_mm[-1] + half)


def _mark_sides(axes: Any, marks: tuple[str, str], colour: str) -> None:
    for x, mark, where in ((0.02, marks[0], "left"), (0.98, marks[1], "right")):
        place = {"transform": axes.transAxes, "ha": where}
        axes.text(x, 0.5, mark, color=colour, fontsize=12, weight="bold", **place)


def _draw_legend(figure: Any, mask: LabelMap, surfaces: Sequence[Surface]) -> None:
    """Every structure with its colour and volume; hollow where the scene does not draw it."""
    from matplotlib.patches import Patch

    volumes = mask.volumes_ml()
    solid = {s.name for s in surfaces if is_drawn(s.name)}
    handles = []
    for number, volume_ml in volumes.items():
        name, colour = names.name_of(number), table()[number].rgba[:3]
        text = f"{name.replace('_', ' ')}  {volume_ml:.4g} mL"
        fill = colour if name in solid else "none"
        handles.append(Patch(facecolor=fill, edgecolor=colour, linewidth=2, label=text))
    if handles:
        rows = 3
        columns = -(-len(handles) // rows)
        figure.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0.008, 0.004),
            ncols=max(columns, 1),
            fontsize=13,
            frameon=False,
            labelcolor=_INK,
        )
