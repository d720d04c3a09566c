from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from nephra_contract.progress import Progress
from nephra_nnunet.export import decide, labels_at_full_resolution
from nephra_nnunet.plans import Heads, Resampling
from nephra_nnunet.resampling import operators

CLASSES = Heads(("background", "a", "b", "c"), (0, 1, 2, 3), regions=False)
REGIONS = Heads(("whole", "part", "core", "rest"), (1, 2, 3, 4), regions=True)


def _logits(shape: tuple[int, ...]) -> NDArray[np.float32]:
    noise = np.random.default_rng(0).standard_normal((4, *shape))
    smooth = np.stack([ndimage.gaussian_filter(n, 2.5) for n in noise])
    return smooth.astype(np.float32)


@pytest.mark.parametrize("heads", [CLASSES, REGIONS], ids=["classes", "regions"])
@pytest.mark.parametrize(
    ("target", "spacing"),
    [((70, 50, 90), (1, 1, 1)), ((17, 12, 9), (3, 3, 3)), ((70, 40, 45), (1, 4, 4))],
)
def test_skipping_settled_blocks_changes_no_label(
    heads: Heads, target: tuple[int, int, int], spacing: tuple[float, float, float]
) -> None:
    """Block by block gives exactly what interpolating every class everywhere gives."""
    logits = _logits((24, 25, 30))
    back = operators((24, 25, 30), target, (2, 2, 2), spacing, Resampling(1, 0, None))
    first, second, third = back.matrices
    everywhere = np.einsum(
        "ia,jb,kc,nabc->nijk", first, second, third, logits, optimize=True
    ).astype(np.float32)
    labels = labels_at_full_resolution(logits, back, heads, Progress())
    assert labels.dtype == np.uint8
    assert np.count_nonzero(labels != decide(everywhere, heads)) <= 2
    assert len(np.unique(labels)) == (4 if not heads.regions else 5)


def test_later_regions_lie_over_earlier_ones() -> None:
    """The order of regions decides where several are positive."""
    logits = np.array([[1, 1, -1, -1], [-1, 1, 1, -1]], np.float32).reshape(2, 4, 1, 1)
    heads = Heads(("whole", "part"), (1, 2), regions=True)
    assert decide(logits, heads).ravel().tolist() == [1, 2, 2, 0]


def test_the_first_of_equal_logits_wins() -> None:
    """As argmax has it."""
    assert decide(np.zeros((4, 2, 2, 2), np.float32), CLASSES).max() == 0
