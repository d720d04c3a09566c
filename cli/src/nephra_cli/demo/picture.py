"""The scene as a picture: smooth shading, see-through kidneys, no display needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nephra_cli.demo.raster import Buffer, Floats, vertex_normals
from nephra_cli.demo.surfaces import Surface
from nephra_contract.labels import numbers, table

_FINER = 2  # samples per pixel and direction
_MARGIN = 0.04
_BACKGROUND = np.array([1.0, 1.0, 1.0], dtype=np.float32)
_LIGHTS = (((-0.45, 0.55, 0.70), 0.62), ((0.6, 0.1, 0.6), 0.22))
_AMBIENT = 0.26

#: Opacity by group in pictures; what is left out here would hide what matters.
_OPACITY: Mapping[str, float] = {
    "kidney": 0.5,
    "tumor": 1.0,
    "cyst": 1.0,
    "artery": 1.0,
    "vein": 1.0,
    "urinary": 1.0,
    "organ": 0.13,
    "bone": 0.28,
}

#: What has to be wholly in the picture; vessels and organs may reach out of it.
_FRAMED = ("kidney", "tumor", "cyst", "urinary")


@dataclass(frozen=True)
class View:
    """From where the patient is looked at; axes in RAS+.

    Args:
        name: for the caption.
        right, up, toward: the image's right and top, and the way to the viewer.
    """

    name: str
    right: tuple[float, float, float]
    up: tuple[float, float, float]
    toward: tuple[float, float, float]


@dataclass(frozen=True)
class Look:
    """How a structure is drawn.

    Args:
        rgb: 0..1, sRGB.
        opacity: 1 is solid.
    """

    rgb: tuple[float, float, float]
    opacity: float


#: The patient's right is on the left side of the picture, as if one faced them.
FRONT = View("from the front", (-1, 0, 0), (0, 0, 1), (0, 1, 0))
#: Seen from the patient's left: the front of the body is on the left side of the picture.
LEFT = View("from the left", (0, -1, 0), (0, 0, 1), (-1, 0, 0))


def group_of(name: str) -> str | None:
    """The group of a structure, None for a name that the table lacks."""
    number = numbers().get(name)
    return None if number is None else table()[number].group


def is_drawn(name: str) -> bool:
    """Whether a structure is in pictures at all."""
    return group_of(name) in _OPACITY


def render(
    surfaces: Sequence[Surface],
    view: View,
    size_px: tuple[int, int],
    looks: Mapping[str, Look] | None = None,
    frame_mm: NDArray[np.float64] | None = None,
) -> NDArray[np.uint8]:
    """Draw a scene, fitted into the picture by kidneys and urinary tract.

    Args:
        surfaces: named as in the label table or in `looks`; fat, muscle and strangers are left out.
        view: from where.
        size_px: height, width.
        looks: by name, how what the table does not know, or otherwise, is to look.
        frame_mm: (N, 3) points that the picture is fitted to instead.

    Returns:
        (H, W, 3) uint8 RGB on white.
    """
    looks = dict(looks or {})
    drawn = [s for s in surfaces if (s.name in looks or is_drawn(s.name)) and len(s.faces)]
    looks = {s.name: looks.get(s.name) or _usual(s.name) for s in drawn}
    height, width = (n * _FINER for n in size_px)
    if not drawn:
        return np.full((*size_px, 3), 255, dtype=np.uint8)
    axes = np.array([view.right, view.up, view.toward], dtype=np.float64)
    framed = _framed(drawn) if frame_mm is None else frame_mm
    scale, offset = _fit(framed @ axes[:2].T, height, width)
    solid, glass = Buffer(height, width), []
    for index, surface in enumerate(drawn):
        target = solid
        if looks[surface.name].opacity < 1:
            target = Buffer(height, width)
            glass.append(target)
        points = surface.vertices @ axes.T
        points[:, 0] = points[:, 0] * scale + offset[0]
        points[:, 1] = offset[1] - points[:, 1] * scale
        normals = vertex_normals(surface.vertices, surface.faces) @ axes.T.astype(np.float32)
        target.draw(points.astype(np.float32), normals, surface.faces, index)
    colours = np.array([looks[s.name].rgb for s in drawn], dtype=np.float32)
    opacity = np.array([looks[s.name].opacity for s in drawn], dtype=np.float32)
    image = _solid(solid, colours)
    _glaze(image, solid.depth, glass, colours, opacity)
    image = image.reshape(size_px[0], _FINER, size_px[1], _FINER, 3).mean(axis=(1, 3))
    return np.asarray(np.clip(image * 255 + 0.5, 0, 255), dtype=np.uint8)


def _framed(drawn: Sequence[Surface]) -> NDArray[np.float64]:
    """The points that have to be in the picture."""
    leading = [s for s in drawn if group_of(s.name) in _FRAMED] or list(drawn)
    return np.concatenate([s.vertices for s in leading])


def _fit(points: NDArray[np.float64], height: int, width: int) -> tuple[float, tuple[float, float]]:
    """Pixels per mm, and where the world's origin comes to lie; of (N, 2) points."""
    low, high = points.min(axis=0), points.max(axis=0)
    span = np.maximum(high - low, 1e-3) * (1 + 2 * _MARGIN)
    scale = float(min(width / span[0], height / span[1]))
    middle = (low + high) / 2
    return scale, (width / 2 - middle[0] * scale, height / 2 + middle[1] * scale)


def _usual(name: str) -> Look:
    red, green, blue, _ = table()[numbers()[name]].rgba
    return Look((red, green, blue), _OPACITY[group_of(name) or ""])


def _solid(buffer: Buffer, colours: Floats) -> Floats:
    """(H*W, 3) the opaque structures on the background, with contact shadows."""
    image = np.broadcast_to(_BACKGROUND, (buffer.depth.size, 3)).copy()
    hit = np.flatnonzero(buffer.owner >= 0)
    shade, shine = _light(buffer.normal[hit])
    shade *= _shadow(buffer)[hit]
    image[hit] = colours[buffer.owner[hit]] * shade[:, None] + shine[:, None]
    return image


def _glaze(
    image: Floats, depth: Floats, glass: list[Buffer], colours: Floats, opacity: Floats
) -> None:
    """Lay translucent structures over what lies behind them, the farthest first; in place."""
    if not glass:
        return
    depths = np.stack([g.depth for g in glass])
    hit = np.flatnonzero((depths > depth).any(axis=0))
    order = np.argsort(depths[:, hit], axis=0)
    for rank in range(len(glass)):
        for index, layer in enumerate(glass):
            here = hit[(order[rank] == index) & (layer.depth[hit] > depth[hit])]
            shade, shine = _light(layer.normal[here])
            facing = np.abs(layer.normal[here, 2]) / _length(layer.normal[here])
            # Glass is denser where it is looked along: the outline stays readable.
            owner = layer.owner[here]
            alpha = opacity[owner] + (0.9 - opacity[owner]) * 0.75 * (1 - facing) ** 2.5
            colour = colours[owner] * shade[:, None] + 0.6 * shine[:, None]
            image[here] += alpha[:, None] * (colour - image[here])


def _light(normal: Floats) -> tuple[Floats, Floats]:
    """Diffuse and specular light (Blinn 1977) for (N, 3) normals in view axes."""
    unit = normal / _length(normal)[:, None]
    shade = np.full(len(unit), _AMBIENT, dtype=np.float32)
    shine = np.zeros(len(unit), dtype=np.float32)
    for direction, strength in _LIGHTS:
        light = np.asarray(direction, dtype=np.float32)
        light /= np.linalg.norm(light)
        half = light + np.array([0, 0, 1], dtype=np.float32)
        half /= np.linalg.norm(half)
        # Half-way to wrapped light, so that what looks away keeps its form.
        shade += np.float32(strength) * np.clip(unit @ light * 0.8 + 0.2, 0, 1)
        shine += np.float32(0.22 * strength) * np.clip(unit @ half, 0, 1) ** 36
    return shade, shine


def _length(normal: Floats) -> Floats:
    return np.asarray(np.maximum(np.linalg.norm(normal, axis=1), 1e-6), dtype=np.float32)


def _shadow(buffer: Buffer) -> Floats:
    """Darkening next to what lies nearer: unsharp masking of depth (Luft et al. 2006)."""
    depth = buffer.depth.reshape(buffer.height, buffer.width)
    hit = np.isfinite(depth)
    if not hit.any():
        return np.ones(depth.size, dtype=np.float32)
    filled = np.where(hit, depth, depth[hit].min())
    above = _blur(filled, radius=max(buffer.height // 60, 2)) - filled
    return np.asarray(1 - 0.45 * np.clip(above / 12.0, 0, 1), dtype=np.float32).ravel()


def _blur(image: Floats, radius: int) -> Floats:
    """Three box blurs along each axis: close to a Gaussian (Wells 1986)."""
    blurred = image.astype(np.float64)
    for axis in (0, 1):
        for _ in range(3):
            width = [(0, 0), (0, 0)]
            width[axis] = (radius + 1, radius)
            total = np.cumsum(np.pad(blurred, width, mode="edge"), axis=axis)
            high = np.take(total, range(2 * radius + 1, total.shape[axis]), axis=axis)
            low = np.take(total, range(total.shape[axis] - 2 * radius - 1), axis=axis)
            blurred = (high - low) / (2 * radius + 1)
    return np.asarray(blurred, dtype=np.float32)
