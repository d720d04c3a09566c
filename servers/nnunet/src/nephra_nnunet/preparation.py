"""From a CT to what the network takes: turned, cropped, normalised, resampled.

The steps and their order are nnU-Net's (Isensee et al. 2021), so that a network sees what it
saw in training. Work goes slab by slab: no full-resolution float volume is made.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from nephra_contract.progress import Progress
from nephra_contract.volume import Volume, bounding_box
from nephra_nnunet.architecture import Triple
from nephra_nnunet.cache import SMALL_BYTES, ByteCache
from nephra_nnunet.normalisation import Intensity, measure
from nephra_nnunet.orientation import AS_STORED, Axes, axes_towards
from nephra_nnunet.plans import Normalisation, Plans, Resampling
from nephra_nnunet.resampling import Operators, Spacing, new_shape, operators

Box = tuple[slice, slice, slice]

#: Voxels of full resolution that are held as float at a time.
SLAB_VOXELS = 4_000_000


@dataclass(frozen=True, eq=False)
class Image:
    """A CT with a name for its content.

    Args:
        volume: voxels in HU.
        key: equal keys mean equal voxels.
    """

    volume: Volume
    key: Hashable


@dataclass(frozen=True, eq=False)
class Frame:
    """How a network's view lies in the stored image.

    Args:
        axes: stored axes → the network's.
        shape: of the whole image, in the network's axes.
        box: the non-zero part that is worked on.
        spacing_mm: of the image, in the network's axes.
        target_mm: the network's.
    """

    axes: Axes
    shape: Triple
    box: Box
    spacing_mm: Spacing
    target_mm: Spacing

    @property
    def key(self) -> Hashable:
        """Equal for frames that make the same of the same image."""
        spans = tuple((s.start, s.stop) for s in self.box)
        return self.axes, self.shape, spans, self.spacing_mm, self.target_mm

    @property
    def cropped(self) -> Triple:
        """Shape of the box."""
        a, b, c = (s.stop - s.start for s in self.box)
        return a, b, c

    @property
    def resampled(self) -> Triple:
        """Shape of the box at the network's spacing."""
        return new_shape(self.cropped, self.spacing_mm, self.target_mm)

    def operators(self, how: Resampling) -> Operators:
        """Box → network's spacing."""
        return operators(self.cropped, self.resampled, self.spacing_mm, self.target_mm, how)

    def back(self, how: Resampling) -> Operators:
        """Network's spacing → box."""
        return operators(self.resampled, self.cropped, self.target_mm, self.spacing_mm, how)

    def view(self, voxels: NDArray[Any]) -> NDArray[Any]:
        """The box in voxels of the whole image, (I, J, K) as stored; writing goes through."""
        return self.axes.view(voxels)[self.box]


@dataclass
class Preparations:
    """What one request prepares; models with the same wishes share it, the next request too.

    Args:
        cache: where it is kept.
        made: how many channels were really prepared in this request.
    """

    cache: ByteCache
    made: int = 0
    _last: dict[Hashable, NDArray[np.float32]] = field(default_factory=dict)

    def frame(self, images: Sequence[Image], plans: Plans, orientation: str | None) -> Frame:
        """How these channels, all on one grid, are seen by the network of these plans."""
        grid = images[0].volume
        axes = network_axes(grid.affine, plans, orientation)
        key = ("box", tuple(i.key for i in images), axes)
        box: Box | None = self.cache.get(key)
        if box is None:
            box = nonzero_box([axes.view(i.volume.voxels) for i in images])
            self.cache.put(key, box, SMALL_BYTES)
        a, b, c = axes.order
        return Frame(
            axes=axes,
            shape=(grid.shape[a], grid.shape[b], grid.shape[c]),
            box=box,
            spacing_mm=(grid.spacing_mm[a], grid.spacing_mm[b], grid.spacing_mm[c]),
            target_mm=plans.spacing_mm,
        )

    def prepare(
        self, images: Sequence[Image], frame: Frame, plans: Plans, progress: Progress
    ) -> NDArray[np.float32]:
        """All channels, (channels, a, b, c) at the network's spacing; not to be written to."""
        masked = any(n.in_mask for n in plans.normalisation)
        views = [frame.axes.view(i.volume.voxels)[frame.box] for i in images]
        # The mask is that of all channels together; its key holds them all.
        together = tuple(i.key for i in images) if masked else None
        mask: NDArray[np.bool_] | None = None
        channels: dict[Hashable, NDArray[np.float32]] = {}
        keys = [
            ("channel", image.key, together, frame.key, how, plans.image_resampling)
            for image, how in zip(images, plans.normalisation, strict=True)
        ]
        for number, (key, view, how) in enumerate(
            zip(keys, views, plans.normalisation, strict=True)
        ):
            # What the model before used is shared even where it does not fit the cache.
            found = channels.get(key, self._last.get(key))
            found = self.cache.get(key) if found is None else found
            if found is None:
                part = progress.part(number / len(images), (number + 1) / len(images))
                if how.in_mask and mask is None:
                    mask = nonzero_mask(views)
                ways = frame.operators(plans.image_resampling)
                found = prepare_channel(view, how, mask, ways, part)
                found.flags.writeable = False
                self.cache.put(key, found, found.nbytes)
                self.made += 1
            channels[key] = found
        self._last = channels
        if len(keys) == 1:
            return channels[keys[0]][None]
        return np.stack([channels[key] for key in keys])


def network_axes(affine: NDArray[np.float64], plans: Plans, orientation: str | None) -> Axes:
    """The axes in which the network of these plans takes an image, (4, 4) voxel → RAS+ mm."""
    code = orientation or ("RAS" if plans.reorients else None)
    stored = axes_towards(affine, code) if code else AS_STORED
    # nnU-Net's readers count axes from the slowest, then apply the plans' transposition.
    return stored.then((2, 1, 0)).then(plans.transpose)


def nonzero_box(channels: Sequence[NDArray[Any]]) -> Box:
    """The box of all voxels that are not zero in some channel; everything, if all are zero."""
    mask = channels[0] != 0
    for channel in channels[1:]:
        mask |= channel != 0
    return bounding_box(mask) or _everything(channels[0])


def _everything(channel: NDArray[Any]) -> Box:
    a, b, c = (slice(0, n) for n in channel.shape)
    return a, b, c


def nonzero_mask(channels: Sequence[NDArray[Any]]) -> NDArray[np.bool_]:
    """(a, b, c) bool: not zero in some channel, holes filled."""
    mask = channels[0] != 0
    for channel in channels[1:]:
        mask |= channel != 0
    return np.asarray(ndimage.binary_fill_holes(mask), dtype=np.bool_)


def prepare_channel(
    image: NDArray[Any],
    how: Normalisation,
    mask: NDArray[np.bool_] | None,
    ways: Operators,
    progress: Progress,
) -> NDArray[np.float32]:
    """Normalise one cropped channel and resample it.

    Args:
        image: (a, b, c) HU.
        how: the plans' normalisation.
        mask: (a, b, c), the non-zero part, for normalisation within it.
        ways: to the network's spacing.
        progress: advanced slab by slab.

    Returns:
        float32 of the operators' shape.
    """
    intensity = measure(image, how, mask)
    within = mask if how.in_mask else None
    # The axis that is resampled apart is the one that slabs are cut along.
    first = ways.apart or 0
    turn = (first, *(a for a in range(3) if a != first))
    image = image.transpose(turn)
    within = None if within is None else within.transpose(turn)
    along, rows, columns = (ways.matrices[a] for a in turn)
    thin = np.empty((image.shape[0], rows.shape[0], columns.shape[0]), dtype=np.float32)
    step = max(1, SLAB_VOXELS // (image.shape[1] * image.shape[2]))
    for start in range(0, image.shape[0], step):
        progress.advance(start / image.shape[0], "preparing")
        part = slice(start, start + step)
        slab = _normalise(image[part], intensity, None if within is None else within[part])
        made = _in_plane(slab, rows, columns)
        if ways.apart is not None:
            low, high = slab.min(axis=(1, 2)), slab.max(axis=(1, 2))
            made = np.clip(made, low[:, None, None], high[:, None, None])
        thin[part] = made
    flat = thin.reshape(thin.shape[0], -1)
    result = flat if _is_identity(along) else along @ flat
    result = result.reshape(along.shape[0], *thin.shape[1:])
    if ways.apart is None:
        # A spline overshoots at edges; resize keeps to the range of its input.
        lowest = min(intensity.lowest, 0.0) if within is not None else intensity.lowest
        highest = max(intensity.highest, 0.0) if within is not None else intensity.highest
        np.clip(result, lowest, highest, out=result)
    return np.ascontiguousarray(result.transpose(np.argsort(turn)))


def _normalise(
    slab: NDArray[Any], intensity: Intensity, within: NDArray[np.bool_] | None
) -> NDArray[np.float32]:
    normal = intensity.apply(slab)
    if within is not None:
        normal[~within] = slab[~within]
    return normal


def _in_plane(
    slab: NDArray[np.float32], rows: NDArray[np.float32], columns: NDArray[np.float32]
) -> NDArray[np.float32]:
    if not _is_identity(columns):
        # One product of two matrices, not one for each slice.
        depth, height, width = slab.shape
        slab = (slab.reshape(-1, width) @ columns.T).reshape(depth, height, -1)
    return slab if _is_identity(rows) else np.matmul(rows, slab)


def _is_identity(way: NDArray[np.float32]) -> bool:
    return bool(way.shape[0] == way.shape[1])
