from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from nephra_contract.errors import Cancelled
from nephra_contract.progress import Progress
from nephra_nnunet.architecture import Triple
from nephra_nnunet.backends import Target
from nephra_nnunet.plans import Heads, Resampling
from nephra_nnunet.resampling import operators
from nephra_nnunet.ring import Ring
from nephra_nnunet.sliding import aim, gaussian, segment, tiles

PATCH = (8, 8, 8)
LEVELS = Heads(("low", "middle", "high"), (0, 1, 2), regions=False)


@dataclass
class Levels:
    """A network whose largest output says whether the image is near -1, 0 or 1; it counts."""

    calls: int = 0
    longest: int = 0
    finished: list[int] = field(default_factory=list)

    def infer(self, tile: NDArray[np.float32], mirror_axes: Sequence[int]) -> NDArray[np.float32]:
        """(1, *patch) → (*patch, 3)."""
        self.calls += 1
        near = [-np.abs(tile[0] - level) for level in (-1, 0, 1)]
        return np.stack(near, axis=-1).astype(np.float32)

    def sink(self, target: Target) -> Ring:
        """Gathers labels, and notes how far it may."""
        network = self

        class Noting(Ring):
            def finish(self, length: int) -> None:
                network.finished.append(length)
                super().finish(length)

        return Noting(target, None, 1)

    def release(self) -> None:
        """Nothing to give back."""


def _target(shape: Triple, labels: NDArray[np.uint8]) -> Target:
    ways = operators(shape, shape, (1, 1, 1), (1, 1, 1), Resampling(1, 0, None))
    return aim(shape, PATCH, ways, LEVELS, np.array([5, 6, 7], np.uint8), labels)


def test_tiles_lie_where_stock_puts_them() -> None:
    """110 voxels in tiles of 64: starts at 0, 23 and 46."""
    assert tiles((110, 64, 64), (64, 64, 64)) == [(0, 0, 0), (23, 0, 0), (46, 0, 0)]


@pytest.mark.parametrize("shape", [(8, 8, 8), (20, 9, 31), (5, 12, 3), (67, 8, 9)])
def test_every_voxel_gets_its_label(shape: Triple) -> None:
    """Also where the image is smaller than a tile, and where the ring turns many times."""
    image = np.random.default_rng(0).integers(-1, 2, (1, *shape)).astype(np.float32)
    labels = np.zeros(shape, np.uint8)
    segment(Levels(), image, _target(shape, labels), (), Progress())
    assert np.array_equal(labels, image[0] + 6)


def test_labels_are_written_as_soon_as_no_tile_reaches_them() -> None:
    """After each row of tiles up to where the next one starts."""
    network = Levels()
    labels = np.zeros((20, 8, 8), np.uint8)
    segment(
        network, np.zeros((1, 20, 8, 8), np.float32), _target((20, 8, 8), labels), (), Progress()
    )
    assert network.finished == [4, 8, 12, 20]


def test_cancelling_stops_before_the_next_tile() -> None:
    """One tile more, and no further."""
    stop = threading.Event()
    network = Levels()

    def report(fraction: float, stage: str) -> None:
        if network.calls == 2:
            stop.set()

    labels = np.zeros((40, 40, 40), np.uint8)
    image = np.zeros((1, 40, 40, 40), np.float32)
    with pytest.raises(Cancelled):
        segment(network, image, _target((40, 40, 40), labels), (), Progress(report, stop))
    assert network.calls == 3


def test_the_weight_is_highest_in_the_middle_and_nowhere_zero() -> None:
    """A zero would make corners undefined."""
    weight = gaussian((16, 32, 8))
    assert weight.min() > 0
    assert weight[8, 16, 4] == weight.max() == 10
