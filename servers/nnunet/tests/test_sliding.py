from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
import pytest
from numpy.typing import NDArray

from nephra_contract.errors import Cancelled
from nephra_contract.progress import Progress
from nephra_nnunet.sliding import gaussian, predict, tiles

PATCH = (8, 8, 8)


@dataclass
class Echo:
    """A network that says the image and its negative, and counts."""

    calls: int = 0
    seen: list[tuple[int, ...]] = field(default_factory=list)

    def infer(self, tile: NDArray[np.float32]) -> NDArray[np.float32]:
        """(1, …) → (2, …)."""
        self.calls += 1
        self.seen.append(tile.shape)
        return np.concatenate([tile, -tile])

    def release(self) -> None:
        """Nothing to give back."""


def test_tiles_lie_where_stock_puts_them() -> None:
    """110 voxels in tiles of 64: starts at 0, 23 and 46."""
    assert tiles((110, 64, 64), (64, 64, 64)) == [(0, 0, 0), (23, 0, 0), (46, 0, 0)]


@pytest.mark.parametrize("shape", [(8, 8, 8), (20, 9, 31), (5, 12, 3)])
def test_overlapping_tiles_add_up_to_the_whole(shape: tuple[int, int, int]) -> None:
    """A network that echoes gives the image back, also where it is smaller than a tile."""
    image = np.random.default_rng(0).standard_normal((1, *shape)).astype(np.float32)
    logits = predict(Echo(), image, PATCH, 2, (), Progress())
    assert np.allclose(logits, np.concatenate([image, -image]), atol=1e-5)


def test_mirrored_predictions_are_turned_back() -> None:
    """With three axes a tile is seen eight times, and an echo still gives the image."""
    image = np.random.default_rng(0).standard_normal((1, 8, 8, 8)).astype(np.float32)
    network = Echo()
    logits = predict(network, image, PATCH, 2, (0, 1, 2), Progress())
    assert network.calls == 8
    assert np.allclose(logits[0], image[0], atol=1e-5)


def test_cancelling_stops_before_the_next_tile() -> None:
    """One tile more, and no further."""
    stop = threading.Event()
    network = Echo()

    def report(fraction: float, stage: str) -> None:
        if network.calls == 2:
            stop.set()

    image = np.zeros((1, 40, 40, 40), np.float32)
    with pytest.raises(Cancelled):
        predict(network, image, PATCH, 2, (), Progress(report, stop))
    assert network.calls == 3


def test_the_weight_is_highest_in_the_middle_and_nowhere_zero() -> None:
    """A zero would make corners undefined."""
    weight = gaussian((16, 32, 8))
    assert weight.min() > 0
    assert weight[8, 16, 4] == weight.max() == 10
