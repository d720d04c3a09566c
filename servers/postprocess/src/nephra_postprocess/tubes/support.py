"""What a bridge needs beyond its own plausibility: something to hang on to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from nephra_postprocess.tubes.bridges import Bridge

#: Together, short pieces are taken for noise up to this length, unless their bridge is plausible.
_SHORT_MM = 30.0
_PLAUSIBLE = 0.6


@dataclass(frozen=True)
class Support:
    """Judges a forest.

    Args:
        blobs: pieces that stay apart unless two bridges lead to them.
        volumes_mm3: by piece.
    """

    blobs: frozenset[int]
    volumes_mm3: NDArray[np.float64]

    def unfounded(self, bridges: list[Bridge]) -> set[Bridge]:
        """The bridges of a forest that are not supported."""
        lone = self._lone(bridges)
        return lone | self._short([b for b in bridges if b not in lone])

    def _lone(self, bridges: list[Bridge]) -> set[Bridge]:
        """Those to blobs that no second bridge leads to, and those that hang on these."""
        lone: set[Bridge] = set()
        while True:
            kept = [b for b in bridges if b not in lone]
            degree = Counter(p for b in kept for p in b.pieces)
            more = {b for b in kept if any(p in self.blobs and degree[p] == 1 for p in b.pieces)}
            if not more:
                return lone
            lone |= more

    def _short(self, bridges: list[Bridge]) -> set[Bridge]:
        """Those that only join short pieces with each other, and are not plausible enough."""
        graph: nx.Graph[int] = nx.Graph()
        graph.add_edges_from(b.pieces for b in bridges)
        short: set[Bridge] = set()
        for group in nx.connected_components(graph):
            own = [b for b in bridges if b.pieces[0] in group]
            area_mm2 = np.pi * float(np.mean([r**2 for b in own for r in b.radii_mm]))
            if float(self.volumes_mm3[list(group)].sum()) < _SHORT_MM * area_mm2:
                short |= {b for b in own if b.plausibility < _PLAUSIBLE}
        return short
