from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from nephra_nnunet import compiled, plain
from nephra_nnunet.export import Exporter, axis_of
from nephra_nnunet.plain import decide
from nephra_nnunet.plans import Heads, Resampling
from nephra_nnunet.resampling import Operators, operators

CLASSES = Heads(tuple("abcdefghijkl"), tuple(range(12)), regions=False)
REGIONS = Heads(("whole", "part", "core", "rest"), (1, 2, 3, 4), regions=True)
TARGETS = [
    ((70, 50, 90), (1, 1, 1)),
    ((17, 12, 9), (3, 3, 3)),
    ((70, 40, 45), (1, 4, 4)),
    ((24, 25, 30), (2, 2, 2)),
    ((24, 61, 30), (2, 1, 2)),
]


def _logits(heads: Heads, smooth: float = 2.5) -> NDArray[np.float32]:
    """(24, 25, 30, heads)."""
    noise = np.random.default_rng(0).standard_normal((len(heads.names), 24, 25, 30))
    made = np.stack([ndimage.gaussian_filter(n, smooth) for n in noise], axis=-1)
    return made.astype(np.float32)


def _export(
    logits: NDArray[np.float32], back: Operators, heads: Heads, is_compiled: bool, threads: int = 1
) -> NDArray[np.uint8]:
    # Reversed and transposed, as the labels of a turned image are.
    labels = np.full(back.shape[::-1], 99, np.uint8)[::-1].transpose()
    numbers = np.arange(len(heads.names) + 1, dtype=np.uint8)
    exporter = Exporter(back, heads, numbers, labels, threads, is_compiled)
    for row, plane in enumerate(logits):
        exporter.feed(row, plane)
    return labels


def _back(target: tuple[int, int, int], spacing: tuple[float, float, float]) -> Operators:
    return operators((24, 25, 30), target, (2, 2, 2), spacing, Resampling(1, 0, None))


@pytest.mark.parametrize("is_compiled", [False, True], ids=["plain", "compiled"])
@pytest.mark.parametrize("heads", [CLASSES, REGIONS], ids=["classes", "regions"])
@pytest.mark.parametrize(("target", "spacing"), TARGETS)
def test_leaving_classes_out_changes_no_label(
    heads: Heads,
    target: tuple[int, int, int],
    spacing: tuple[float, float, float],
    is_compiled: bool,
) -> None:
    """Cell by cell gives what interpolating every class everywhere in double precision gives."""
    logits = _logits(heads)
    back = _back(target, spacing)
    everywhere = np.einsum(
        "ia,jb,kc,abcn->ijkn",
        *(m.astype(np.float64) for m in back.matrices),
        logits,
        optimize=True,
    )
    expected = decide(everywhere, heads.regions)
    labels = _export(logits, back, heads, is_compiled)
    ordered = np.sort(everywhere, axis=-1)
    close = np.abs(everywhere).min(-1) if heads.regions else ordered[..., -1] - ordered[..., -2]
    differ = labels != expected
    assert (close[differ] < 1e-6).all()
    assert differ.mean() < 1e-4
    assert np.unique(labels).size == len(heads.names) + heads.regions


@pytest.mark.parametrize("smooth", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("heads", [CLASSES, REGIONS], ids=["classes", "regions"])
@pytest.mark.parametrize(("target", "spacing"), TARGETS)
def test_compiled_and_plain_loops_give_the_same_labels(
    heads: Heads,
    target: tuple[int, int, int],
    spacing: tuple[float, float, float],
    smooth: float,
) -> None:
    """Bit for bit, from noise to large structures."""
    logits = _logits(heads, smooth)
    back = _back(target, spacing)
    assert np.array_equal(
        _export(logits, back, heads, is_compiled=True),
        _export(logits, back, heads, is_compiled=False),
    )


def test_threads_change_no_label() -> None:
    """Each has rows of its own."""
    logits = _logits(CLASSES)
    back = _back((70, 50, 90), (1, 1, 1))
    assert np.array_equal(
        _export(logits, back, CLASSES, is_compiled=True, threads=3),
        _export(logits, back, CLASSES, is_compiled=True),
    )


def test_compiled_and_plain_sums_agree() -> None:
    """A tile's outputs are weighted and added alike, also where the ring turns."""
    draw = np.random.default_rng(0)
    output = draw.standard_normal((3, 4, 5, 6)).astype(np.float32)
    weight = draw.random((3, 4, 5)).astype(np.float32)
    weight.flags.writeable = False
    made = []
    for add in (compiled.add, plain.add):
        sums, weights = np.ones((5, 6, 9, 6), np.float32), np.ones((5, 6, 9), np.float32)
        add(sums, weights, output, weight, (14, 2, 1))
        made.append((sums, weights))
    assert np.array_equal(made[0][0], made[1][0])
    assert np.array_equal(made[0][1], made[1][1])
    expected = np.ones((6, 9), np.float32)
    expected[2:6, 1:6] += weight[1]
    assert np.array_equal(made[0][1][0], expected)


def test_planes_are_dropped_when_they_are_written() -> None:
    """No more than two are held, however long the image."""
    exporter = Exporter(
        _back((70, 50, 90), (1, 1, 1)), CLASSES, np.arange(13, dtype=np.uint8),
        np.zeros((70, 50, 90), np.uint8),
    )  # fmt: skip
    for row, plane in enumerate(_logits(CLASSES)):
        exporter.feed(row, plane)
        assert len(exporter._planes) <= 2


def test_splines_are_refused() -> None:
    """A cubic is no convex combination."""
    cubic = operators((8, 8, 8), (12, 8, 8), (3, 2, 2), (2, 2, 2), Resampling(3, 0, None))
    with pytest.raises(ValueError, match="not linear"):
        axis_of(cubic.matrices[0])


def test_later_regions_lie_over_earlier_ones() -> None:
    """The order of regions decides where several are positive."""
    logits = np.array([[1, -1], [1, 1], [-1, 1], [-1, -1]], np.float32)
    assert decide(logits, regions=True).tolist() == [1, 2, 2, 0]


def test_the_first_of_equal_logits_wins() -> None:
    """As argmax has it."""
    zeros = np.zeros((2, 2, 4), np.float32)
    assert decide(zeros, regions=False).max() == 0
