"""Promises of the spanning forest, and of who computes it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from nephra_postprocess.tubes.bridges import Bridge
from nephra_postprocess.tubes.forest import choose, spanning_edges

_ASK = "from nephra_postprocess.tubes.forest import backend; print(backend())"
_ANNOUNCED = """[networkx.backends]
cugraph = gpu_backend:Interface
[networkx.backend_info]
cugraph = gpu_backend:info
"""
#: What networkx asks of a backend; `TREE` is how this one grows a tree.
_BACKEND = """
import networkx as nx
def info():
    return {"backend_name": "cugraph"}
class Interface:
    @staticmethod
    def convert_from_nx(graph, **options):
        return Mirror(graph)
    @staticmethod
    def convert_to_nx(graph, **options):
        return graph
    @staticmethod
    def minimum_spanning_tree(graph, weight="weight", algorithm="kruskal", ignore_nan=False):
        TREE
class Mirror(nx.Graph):
    __networkx_backend__ = "cugraph"
"""


def _bridge(pieces: tuple[int, int], ends: tuple[int, ...], plausibility: float) -> Bridge:
    nothing = np.zeros(3)
    return Bridge(
        pieces, ends, np.zeros(3, np.int32), nothing, nothing, np.zeros((2, 3)), nothing, nothing,
        (1.0, 1.0), 1.0, plausibility,
    )  # fmt: skip


def _asked(folder: Path, tree: str | None) -> str:
    """Which backend a fresh process decides for, with a package in a folder or without."""
    if tree is not None:
        (folder / "gpu_backend.py").write_text(_BACKEND.replace("TREE", tree))
        metadata = folder / "gpu_backend-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Name: gpu-backend\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(_ANNOUNCED)
    return subprocess.run(
        [sys.executable, "-c", _ASK],
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        (None, "networkx"),
        ("return Mirror(nx.minimum_spanning_tree(nx.Graph(graph), backend='networkx'))", "cugraph"),
        ("return Mirror(graph)", "networkx"),
        ("return None", "networkx"),
        ("raise RuntimeError('no CUDA-capable device')", "networkx"),
    ],
    ids=["absent", "right", "wrong", "incomplete", "broken"],
)
def test_the_gpu_is_used_only_where_it_answers_rightly(
    tmp_path: Path, tree: str | None, expected: str
) -> None:
    """A backend registered as networkx wants it is asked once; only a right answer counts."""
    assert _asked(tmp_path, tree) == expected


def test_the_forest_of_two_trees_has_an_edge_less_per_tree() -> None:
    """Of each loop the dearest edge is left out; trees stay apart."""
    graph: nx.Graph[int] = nx.Graph()
    for a, b, weight in ((0, 1, 1.0), (1, 2, 2.0), (0, 2, 3.0), (5, 6, 1.0)):
        graph.add_edge(a, b, weight=weight)
    assert {frozenset(e) for e in spanning_edges(graph)} == {
        frozenset(e) for e in ((0, 1), (1, 2), (5, 6))
    }


def test_each_end_is_used_once_and_the_most_plausible_bridge_wins() -> None:
    """Two pieces want the same end: the better one gets it, the other stays apart."""
    better, worse = _bridge((0, 1), (0, 1), 0.9), _bridge((0, 2), (0, 2), 0.8)
    assert choose(3, [better, worse], lambda _: True) == [better]


def test_what_cannot_be_drawn_makes_room_for_the_next() -> None:
    """A blocked bridge is as if it were not there."""
    blocked, free = _bridge((0, 1), (0, 1), 0.9), _bridge((0, 1), (2, 3), 0.8)
    assert choose(2, [blocked, free], lambda b: b is not blocked) == [free]
