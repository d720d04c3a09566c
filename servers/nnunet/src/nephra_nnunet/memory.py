"""How much memory a request will need, said before it begins.

An estimate that is too low ends in a killed process and lost work, one that is too high refuses
what would have worked: each share below is what the code really holds, and a test holds the
whole against a measured run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nephra_contract.errors import InsufficientMemory, TooLarge
from nephra_nnunet.architecture import Triple
from nephra_nnunet.bundle import Bundle
from nephra_nnunet.cache import ByteCache
from nephra_nnunet.head import is_split_off
from nephra_nnunet.machine import available_bytes, limit_bytes, resident_bytes
from nephra_nnunet.preparation import SLAB_VOXELS, network_axes
from nephra_nnunet.resampling import new_shape

_FLOAT = 4
_GIB = 2**30
#: Of the finest layers' outputs so many are held at a time: in the decoder's last stage the
#: skip connection, what is concatenated with it, both together, and the convolution's output.
_LAYERS = 6.5
#: Bytes a voxel to tell sides: a copy, a mask, and numbered pieces of four bytes.
_ASKING = 7
#: What an allocator and libraries hold beside.
_SLACK = 1.1


@dataclass(frozen=True)
class Scan:
    """What the estimate has to know of an image.

    Args:
        shape: (I, J, K).
        affine: (4, 4) voxel → RAS+ mm.
        itemsize: bytes of a voxel.
    """

    shape: Triple
    affine: NDArray[np.float64]
    itemsize: int

    @property
    def voxels(self) -> int:
        """How many there are."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def size(self) -> int:
        """Bytes of its voxels."""
        return self.voxels * self.itemsize


def prediction_bytes(bundle: Bundle, scan: Scan) -> dict[str, int]:
    """What predicting one image takes at its peak, by share, the image itself left out.

    Args:
        bundle: the model; of several parts the one that needs most counts.
        scan: the grid that the channels share.
    """
    shares = [_part_bytes(part, scan) for part in bundle.parts]
    largest = max(shares, key=lambda share: sum(share.values()))
    # Parts are merged into the labels of those before.
    largest["labels"] = scan.voxels * (1 + (len(shares) > 1))
    return largest


def _part_bytes(part: Bundle, scan: Scan) -> dict[str, int]:
    plans, architecture = part.plans, part.architecture
    axes = network_axes(scan.affine, plans, part.manifest.orientation)
    spacing = np.linalg.norm(scan.affine[:3, :3], axis=0)
    a, b, c = axes.order
    full = scan.shape[a], scan.shape[b], scan.shape[c]
    coarse = new_shape(full, (spacing[a], spacing[b], spacing[c]), plans.spacing_mm)
    padded = [max(n, p) for n, p in zip(coarse, plans.patch, strict=True)]
    tile = int(np.prod(plans.patch, dtype=np.int64))
    outputs = architecture.heads
    if is_split_off(architecture, len(part.checkpoints)):
        outputs = architecture.features[0] * len(part.checkpoints)
    plane = padded[1] * padded[2]
    channels = architecture.input_channels
    prepared = channels * int(np.prod(padded, dtype=np.int64)) * _FLOAT
    copies = 1 + (channels > 1) + (tuple(padded) != coarse)
    between = full[0] * coarse[1] * coarse[2] * _FLOAT
    # Logits of several folds are added two by two.
    tiles = 1 + (len(part.checkpoints) > 1)
    network = int(_LAYERS * architecture.features[0] + outputs * tiles) * tile * _FLOAT
    sums = plans.patch[0] * plane * (outputs + 1) * _FLOAT
    planes = 3 * plane * (architecture.heads + outputs) * _FLOAT
    preparing = between + 3 * SLAB_VOXELS * _FLOAT
    # One after another: preparing, the network with its sums, what is asked of the labels.
    working = max(preparing, network + sums + planes, _ASKING * scan.voxels)
    return {"labels": scan.voxels, "prepared": prepared * copies, "working": working}


def request_bytes(jobs: Sequence[tuple[Bundle, Sequence[Scan]]], scans: Sequence[Scan]) -> int:
    """What a request takes at its peak, beside the loaded models.

    Args:
        jobs: the models, each with its channels' images; the first one's grid is theirs all.
        scans: the request's images, each once.
    """
    images = sum(scan.size for scan in scans)
    # Decoding holds an image twice.
    reading = max(scan.size for scan in scans)
    predictions = []
    for bundle, channels in jobs:
        grid = channels[0]
        moved = sum(
            grid.voxels * scan.itemsize
            for scan in channels[1:]
            if scan.shape != grid.shape or not np.allclose(scan.affine, grid.affine)
        )
        predictions.append(moved + sum(prediction_bytes(bundle, grid).values()))
    return int((images + max(reading, *predictions)) * _SLACK)


@dataclass
class Memory:
    """The memory that this process may take, and what it keeps between requests.

    Args:
        limit: bytes; what `limit_bytes` finds, if not given.
        cache: what is kept; it makes room when a request needs it.
        base: bytes that the process holds without a request.
    """

    limit: int = field(default_factory=limit_bytes)
    cache: ByteCache = field(default_factory=lambda: ByteCache(2**30))
    base: int = field(default_factory=resident_bytes)

    def settle(self) -> None:
        """Take what the process holds now as what it holds without a request."""
        self.base = max(resident_bytes() - self.cache.held, 0)

    def check(self, needed: int, scans: Mapping[str, Scan]) -> None:
        """Refuse work that can never fit.

        Args:
            needed: bytes that the request takes beside what the process holds.
            scans: the images, by what the request calls them.

        Raises:
            TooLarge: with what is needed, what there is, and what would fit.
        """
        most = max(self.limit - self.base, 0)
        if needed <= most:
            return
        largest = max(scan.voxels for scan in scans.values())
        raise TooLarge(
            f"This needs about {_gib(needed)} GiB for {_named(scans)}; "
            f"this service has {_gib(most)} GiB for it.",
            f"Send images of at most about {int(largest * most / needed):,} voxels, ask for a "
            "coarser model or fewer, or give the service more memory.",
            code="memory_over_limit",
            needed_bytes=needed,
            limit_bytes=most,
        )

    def make_room(self, needed: int, scans: Mapping[str, Scan]) -> None:
        """Drop what is kept as far as a request needs the room; refuse it if that is not enough.

        Raises:
            InsufficientMemory: the machine has not so much free now.
        """
        # The request's own images are in what it needs, and may be kept as well.
        own = sum(scan.size for scan in scans.values())
        self.cache.keep_within(self.limit - self.base - needed + own)
        free = available_bytes()
        if needed > free:
            self.cache.keep_within(self.cache.held - (needed - free))
            free = available_bytes()
        if needed > free:
            raise InsufficientMemory(
                f"This needs about {_gib(needed)} GiB for {_named(scans)}; "
                f"{_gib(free)} GiB are free now.",
                "Send it again later, or give the service more memory.",
                needed_bytes=needed,
                free_bytes=free,
            )


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f}"


def _named(scans: Mapping[str, Scan]) -> str:
    return ", ".join(
        f"{name} of {' x '.join(str(n) for n in scan.shape)} voxels" for name, scan in scans.items()
    )
