"""The bridges that are built: a minimum spanning forest over the fragments.

networkx computes it; its GPU backend nx-cugraph does where it answers a small question rightly
when the service starts. A backend that is announced and broken, or that has no spanning trees (as
nx-cugraph until now), is never used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import networkx as nx

from nephra_postprocess.tubes.bridges import Bridge

GPU_BACKEND = "cugraph"
_LOG = logging.getLogger(__name__)


def choose(
    pieces: int,
    candidates: Iterable[Bridge],
    passable: Callable[[Bridge], bool],
    unfounded: Callable[[list[Bridge]], set[Bridge]] = lambda _: set(),
) -> list[Bridge]:
    """The minimum spanning forest over the fragments, each end used once at most.

    Args:
        pieces: number of fragments.
        candidates: bridges, cheapest first.
        passable: whether a bridge can be drawn; asked once, for those that would be chosen.
        unfounded: of a whole forest, the bridges that too little supports; it is then grown
            anew without them.
    """
    asked: dict[Bridge, bool] = {}

    def drawable(bridge: Bridge) -> bool:
        if bridge not in asked:
            asked[bridge] = passable(bridge)
        return asked[bridge]

    left = list(candidates)
    while True:
        chosen = _grow(pieces, left, drawable)
        refused = unfounded(chosen)
        if not refused:
            return chosen
        left = [b for b in left if b not in refused]


def _grow(
    pieces: int, candidates: list[Bridge], passable: Callable[[Bridge], bool]
) -> list[Bridge]:
    """The forest with what can be drawn, tree by tree until nothing more is joined."""
    chosen: list[Bridge] = []
    used: set[int] = set()
    left = candidates
    joined: nx.utils.UnionFind[int] = nx.utils.UnionFind(range(pieces))
    while True:
        left = [
            b
            for b in left
            if joined[b.pieces[0]] != joined[b.pieces[1]] and used.isdisjoint(b.ends)
        ]
        wanted = _forest(left, joined)
        if not wanted:
            return sorted(chosen, key=_rank)
        tried = set()
        for bridge in wanted:
            if not used.isdisjoint(bridge.ends):
                continue
            tried.add(bridge)
            if passable(bridge):
                chosen.append(bridge)
                used.update(bridge.ends)
                joined.union(*bridge.pieces)
        left = [b for b in left if b not in tried]


def _forest(bridges: list[Bridge], joined: nx.utils.UnionFind[int]) -> list[Bridge]:
    """The cheapest bridges that join all that can be joined without a loop, cheapest first."""
    graph: nx.Graph[int] = nx.Graph()
    best: dict[frozenset[int], Bridge] = {}
    for bridge in bridges:
        ends = frozenset((joined[bridge.pieces[0]], joined[bridge.pieces[1]]))
        if ends not in best:
            best[ends] = bridge
            graph.add_edge(*ends, weight=bridge.cost)
    if not best:
        return []
    return sorted((best[frozenset(e)] for e in spanning_edges(graph)), key=_rank)


def _rank(bridge: Bridge) -> tuple[float, tuple[int, int], tuple[int, ...]]:
    return bridge.cost, bridge.pieces, bridge.ends


def spanning_edges(graph: nx.Graph[int]) -> list[tuple[int, int]]:
    """The edges of the minimum spanning forest of a graph with `weight`."""
    return _ask(graph, backend())


@cache
def backend() -> str:
    """`cugraph` where it is really there, else `networkx`: found out once, by a real question."""
    found = "networkx"
    if GPU_BACKEND in set(nx.config.backends) and _answers(GPU_BACKEND):
        found = GPU_BACKEND
    _LOG.info("spanning forests are computed by %s", found)
    return found


def _answers(name: str) -> bool:
    """Whether a backend finds the forest of two small trees with a loop each."""
    graph: nx.Graph[int] = nx.Graph()
    for start in (0, 3):
        for a, b, weight in ((0, 1, 1.0), (1, 2, 2.0), (0, 2, 3.0)):
            graph.add_edge(start + a, start + b, weight=weight)
    wanted = {frozenset(e) for e in ((0, 1), (1, 2), (3, 4), (4, 5))}
    try:
        return {frozenset(e) for e in _ask(graph, name)} == wanted
    except Exception as error:  # noqa: BLE001 - whatever a broken installation raises
        _LOG.info("%s is installed and does not work: %s", name, type(error).__name__)
        return False


def _ask(graph: nx.Graph[int], name: str) -> list[tuple[int, int]]:
    # The keyword is given only where the backend has answered, or is being asked whether it does.
    options: dict[str, Any] = {} if name == "networkx" else {"backend": name}
    found = nx.minimum_spanning_tree(graph, **options)
    return [(int(a), int(b)) for a, b in found.edges()]
