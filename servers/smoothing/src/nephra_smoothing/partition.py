"""A mesh of the walls between labels, from which each label's own surface is taken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nephra_smoothing.relaxation import Points, Sides
from nephra_smoothing.surface import Surface
from nephra_smoothing.walls import Ints


@dataclass(frozen=True, eq=False)
class Partition:
    """A triangle mesh of walls.

    Args:
        points: (N, 3) float64, mm.
        faces: (M, 3) int64, wall by wall, counter-clockwise seen from the outer label.
        sides: what is on either side of each face.
        error_mm: (P,) how far each wall was moved by simplifying.
    """

    points: Points
    faces: Ints
    sides: Sides
    error_mm: NDArray[np.float64]

    @classmethod
    def of(cls, points: Points, faces: Ints, sides: Sides) -> Partition:
        """With the faces put in order, and nothing simplified."""
        order = np.argsort(
            sides.wall.astype(np.uint16 if len(sides.pairs) < 1 << 16 else np.int64), kind="stable"
        )
        between = Sides(sides.labels, sides.pairs, sides.wall[order])
        return cls(points, faces[order], between, np.zeros(len(sides.pairs)))

    def wall(self, number: int) -> Ints:
        """The faces of one wall."""
        return self.faces[self.sides.starts[number] : self.sides.starts[number + 1]]

    def surface(self, label: int) -> Surface:
        """The closed surface of one label; vertices keep their order."""
        inner, outer = self.sides.walls_of(label)
        faces = [self.wall(w) for w in inner] + [self.wall(w)[:, ::-1] for w in outer]
        used, number = compact(np.concatenate(faces) if faces else self.faces[:0])
        return Surface(self.points[used], number)

    def contact(self, label: int) -> NDArray[np.bool_]:
        """(M,) which faces of a label's surface are a neighbour's, too."""
        walls = np.concatenate(self.sides.walls_of(label))
        between = (self.sides.labels[self.sides.pairs[walls]] != 0).all(axis=1)
        return np.repeat(between, np.diff(self.sides.starts)[walls])

    def error_of(self, label: int) -> float:
        """The largest error of the walls of a label, mm."""
        walls = np.concatenate(self.sides.walls_of(label))
        return float(self.error_mm[walls].max(initial=0.0))


def compact(faces: Ints) -> tuple[Ints, Ints]:
    """The vertices that faces use, ascending, and the faces over these."""
    if not faces.size:
        return np.zeros(0, np.int64), faces
    low = int(faces.min())
    used = np.zeros(int(faces.max()) - low + 1, bool)
    used[faces.ravel() - low] = True
    number = np.cumsum(used) - 1
    return np.flatnonzero(used) + low, number[faces - low]
