"""Named surfaces, read back from an OBJ file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Surface:
    """One named object.

    Args:
        name: as in the label table.
        vertices: (N, 3) float64, RAS+ mm.
        faces: (M, 3) indices into them, counter-clockwise seen from outside.
    """

    name: str
    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]


def read_obj(path: Path) -> list[Surface]:
    """Read the objects of an OBJ file of ours: triangles, one vertex list for the file.

    The comment `# SPACE=LPS` (or RAS) says which axes it is in; LPS where it is absent.
    """
    space = "LPS"
    vertices: list[str] = []
    faces: dict[str, list[str]] = {}
    current = faces.setdefault(path.stem, [])
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            kind, _, rest = line.partition(" ")
            if kind == "v":
                vertices.append(rest)
            elif kind == "f":
                current.append(rest)
            elif kind == "o":
                current = faces.setdefault(rest.strip(), [])
            elif kind == "#" and rest.startswith("SPACE="):
                space = rest.removeprefix("SPACE=").strip()
    points = np.array([v.split()[:3] for v in vertices], dtype=np.float64).reshape(-1, 3)
    if space == "LPS":
        points *= (-1, -1, 1)
    return [_object(name, points, given) for name, given in faces.items() if given]


def _object(name: str, points: NDArray[np.float64], faces: list[str]) -> Surface:
    corners = np.array(
        [[int(corner.split("/")[0]) for corner in face.split()] for face in faces], dtype=np.int64
    )
    used, faces_of_used = np.unique(corners - 1, return_inverse=True)
    return Surface(name, points[used], faces_of_used.reshape(-1, 3))
