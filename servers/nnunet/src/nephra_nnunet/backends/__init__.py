"""Engines that run a network on a tile. Each is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from nephra_contract.errors import Unavailable
from nephra_nnunet.architecture import Architecture, Triple

BackendName = Literal["openvino", "torch"]
Weights = Mapping[str, NDArray[np.float32]]


class Network(Protocol):
    """One bundle's network, ready to run."""

    def infer(self, tile: NDArray[np.float32]) -> NDArray[np.float32]:
        """(channels, *patch) → (heads, *patch) logits, the mean over the folds.

        The result may be overwritten by the next call.
        """
        ...

    def release(self) -> None:
        """Give back the memory of the layers' outputs; the next call takes it again."""
        ...


class Backend(Protocol):
    """Makes networks."""

    name: BackendName

    def load(self, architecture: Architecture, folds: Sequence[Weights], patch: Triple) -> Network:
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
