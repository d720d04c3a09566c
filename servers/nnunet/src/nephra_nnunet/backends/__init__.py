"""Engines that run a network over an image. Each is imported when it is asked for.

A backend brings three things: it builds networks, runs one on a tile, and gathers what tiles give
into labels. The last is a backend's own because its data are where the network ran.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from nephra_contract.errors import Unavailable
from nephra_nnunet.architecture import Architecture, Triple

if TYPE_CHECKING:
    from nephra_nnunet.plans import Heads
    from nephra_nnunet.resampling import Operators

BackendName = Literal["openvino", "torch"]
Precision = Literal["float32", "bfloat16"]
Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Target:
    """What becomes of the network's outputs.

    Args:
        shape: of the image at the network's spacing, padded to at least one tile.
        inner: where in it the image lies.
        patch: the tile.
        weight: (*patch) float32, of each voxel of a tile.
        back: from the image at the network's spacing to full resolution.
        heads: what the outputs mean.
        numbers: (heads + 1,) uint8: what is written for each value of `export.decide`.
        labels: full resolution, uint8, in the network's axes; a view that is written to.
    """

    shape: Triple
    inner: tuple[slice, slice, slice]
    patch: Triple
    weight: NDArray[np.float32]
    back: Operators
    heads: Heads
    numbers: NDArray[np.uint8]
    labels: NDArray[np.uint8]


class Sink(Protocol):
    """Gathers what the tiles of one image give, and makes labels of it.

    It holds no more of the image's length than a tile is long.
    """

    def add(self, start: Triple, output: Any) -> None:
        """Take what `Network.infer` gave for the tile that starts there."""
        ...

    def finish(self, length: int) -> None:
        """Write the labels that follow from the first `length` rows: no more tiles touch them."""
        ...


class Network(Protocol):
    """One bundle's network, ready to run."""

    def infer(self, tile: NDArray[np.float32], mirror_axes: Sequence[int]) -> Any:
        """Run a tile, (channels, *patch), for `Sink.add`: the mean over folds and mirrorings.

        Args:
            tile: the image's part; any strides.
            mirror_axes: spatial axes to average mirrored predictions over; empty for none.

        Returns:
            The backend's own array of logits, or of the last layer's inputs where that layer is
            split off. It may be overwritten by the next call.
        """
        ...

    def sink(self, target: Target) -> Sink:
        """What gathers the outputs for one image."""
        ...

    def release(self) -> None:
        """Give back the memory of the layers' outputs; the next call takes it again."""
        ...


class Backend(Protocol):
    """Makes networks."""

    name: BackendName

    def load(
        self,
        architecture: Architecture,
        folds: Sequence[Weights],
        patch: Triple,
        precision: Precision = "float32",
    ) -> Network:
        """Build the network, once per fold."""
        ...


def open_backend(name: BackendName, threads: int, device: str) -> Backend:
    """The backend of that name.

    Raises:
        Unavailable: it is not installed.
    """
    try:
        if name == "torch":
            from nephra_nnunet.backends.torch import TorchBackend

            return TorchBackend(threads, device)
        from nephra_nnunet.backends.openvino import OpenVinoBackend

        return OpenVinoBackend(threads)
    except ImportError as error:
        raise Unavailable(
            f"The inference engine '{name}' is not installed.",
            "Install it, or choose the other one with NEPHRA_BACKEND.",
        ) from error
