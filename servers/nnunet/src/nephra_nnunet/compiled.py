"""The compiled inner loops, in the words of `plain`: the same arguments, the same labels."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from nephra_nnunet.export import Axis

_Corners = tuple[NDArray[np.float32], NDArray[np.int16]]


@lru_cache(maxsize=1)
def available() -> bool:
    """Whether there is a compiler."""
    return find_spec("numba") is not None


def compile_all() -> None:
    """Compile everything now, so that no request has to wait for it."""
    if available():
        _kernels()


def _kernels() -> Any:
    from nephra_nnunet import kernels

    return kernels


def add(
    sums: NDArray[np.float32],
    weights: NDArray[np.float32],
    output: NDArray[np.float32],
    weight: NDArray[np.float32],
    start: tuple[int, int, int],
) -> None:
    """Add weighted outputs; see `plain.add`."""
    _kernels().add(sums, weights, np.ascontiguousarray(output), weight, *start)


def write(
    low: _Corners,
    high: _Corners,
    weights: NDArray[np.float32],
    second: Axis,
    third: Axis,
    rows: tuple[int, int],
    numbers: NDArray[np.uint8],
    regions: bool,
    labels: NDArray[np.uint8],
) -> None:
    """Write the labels between two planes; see `plain.write`."""
    _kernels().write(
        low[0],
        high[0],
        low[1],
        high[1],
        weights,
        _spans(second),
        np.stack([second.weight_low, second.weight_high]),
        _spans(third),
        np.stack([third.weight_low, third.weight_high]),
        *rows,
        numbers,
        regions,
        labels,
    )


def _spans(axis: Axis) -> NDArray[np.int64]:
    return np.stack([axis.start, axis.stop, axis.low, axis.high])
