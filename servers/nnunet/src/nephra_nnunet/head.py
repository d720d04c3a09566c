"""The network's last layer, split off.

It is a 1x1x1 convolution, so linear: it may be applied to the weighted mean of its input features
instead of averaging its outputs. With 118 classes on 32 features that is a quarter of the memory
and of the sums, and the layer runs once per voxel instead of once per tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nephra_nnunet.architecture import Architecture
from nephra_nnunet.backends import Weights


@dataclass(frozen=True, eq=False)
class LastLayer:
    """What makes logits of features: `features @ weight + bias`.

    Args:
        weight: (features, heads) float32; the features of several folds stand one after another.
        bias: (heads,) float32.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]


def is_split_off(architecture: Architecture, folds: int) -> bool:
    """Whether splitting makes less to sum up."""
    return architecture.heads > architecture.features[0] * folds


def split_off(architecture: Architecture, folds: Sequence[Weights]) -> LastLayer | None:
    """The last layer of all folds, their mean included; None where splitting gains nothing."""
    if not is_split_off(architecture, len(folds)):
        return None
    name = architecture.last_layer
    share = np.float32(1 / len(folds))
    weights = [fold[f"{name}.weight"].reshape(architecture.heads, -1).T for fold in folds]
    biases = [fold[f"{name}.bias"] for fold in folds]
    return LastLayer(
        np.ascontiguousarray(np.concatenate(weights) * share, dtype=np.float32),
        np.asarray(np.sum(biases, axis=0) * share, dtype=np.float32),
    )
