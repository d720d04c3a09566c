"""The benchmark's topics, and its command."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nephra_serving.figures import Cases, Figure
from nephra_serving.figures import main as measure
from nephra_smoothing.bench.cost import body, kits, segmentations, tree
from nephra_smoothing.bench.joint import joint
from nephra_smoothing.bench.truth import phantoms

_PACKAGES = ("nephra-smoothing", "numpy", "scipy", "vtk", "scikit-image", "trimesh")


def smoothing(cases: Cases) -> Iterator[Figure]:
    """What `smoothing/base` costs, whether its surfaces are sound, and how true they are."""
    yield from body(cases)
    yield from tree(cases)
    yield from kits(cases)
    yield from segmentations(cases)
    yield from phantoms(cases)


TOPICS = {"smoothing": smoothing, "joint": joint}


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark on the arguments behind `bench`."""
    return measure("smoothing", TOPICS, _PACKAGES, arguments)
