"""The benchmark's topics, and its command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nephra_postprocess.bench.anatomy import fat, sample_
from nephra_postprocess.bench.reconnection import reconnection
from nephra_serving.figures import Topic
from nephra_serving.figures import main as measure

_PACKAGES = (
    "numpy",
    "scipy",
    "scikit-image",
    "networkx",
    "connected-components-3d",
    "edt",
    "picsl-greedy",
)

TOPICS: Mapping[str, Topic] = {"reconnection": reconnection, "fat": fat, "sample": sample_}


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark on the arguments behind `bench`."""
    return measure("postprocess", TOPICS, _PACKAGES, arguments)
