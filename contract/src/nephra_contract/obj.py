"""OBJ with its MTL, written fast: millimetres, one object, groups and a material per structure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from nephra_contract import labels as names
from nephra_contract.axes import turned
from nephra_contract.decimals import doubled, fixed_point, whole
from nephra_contract.results import nephra_version
from nephra_contract.scene import Scene

Number = TypeVar("Number", np.float64, np.int64)

#: Coordinates have four decimals: half of the last one, and what float64 adds.
ROUNDING_MM = 0.5e-4 + 1e-9
#: Rows that are turned into text at once.
_BLOCK = 1 << 17


def obj(scene: Scene, mtl: str) -> Iterator[bytes]:
    """The parts of an OBJ.

    Args:
        scene: surfaces in RAS+ mm.
        mtl: the name of the file of materials beside it.
    """
    yield _head("scene")
    yield f"# SPACE={scene.space}\n# UNITS=mm\nmtllib {mtl}\n".encode()
    before = 1
    for mesh in scene.meshes:
        name = names.name_of(mesh.label)
        groups = " ".join(dict.fromkeys((name, *group_of(mesh.label))))
        yield f"o {name}\ng {groups}\nusemtl {name}\n".encode()
        for points in _blocks(mesh.vertices):
            yield fixed_point(b"v", turned(points, scene.space))
        if scene.normals:
            for normals in _blocks(mesh.normals):
                yield fixed_point(b"vn", turned(normals, scene.space))
        number = doubled if scene.normals else whole
        for faces in _blocks(mesh.faces):
            yield number(b"f", faces + before)
        before += len(mesh.vertices)


def mtl(scene: Scene) -> Iterator[bytes]:
    """The parts of the MTL: colour and opacity of the label table, which do not change."""
    yield _head("materials")
    for mesh in scene.meshes:
        *colour, opacity = rgba_of(mesh.label)
        shown = " ".join(f"{c:.4f}" for c in colour)
        yield (
            f"newmtl {names.name_of(mesh.label)}\nKa {shown}\nKd {shown}\n"
            f"Ks 0.1000 0.1000 0.1000\nNs 20.0000\nd {opacity:.4f}\nillum 2\n"
        ).encode()


def rgba_of(number: int) -> tuple[float, float, float, float]:
    """Colour and opacity, sRGB 0..1; grey where the table has no such label."""
    label = names.table().get(number)
    return label.rgba if label else (0.6, 0.6, 0.6, 1.0)


def group_of(number: int) -> tuple[str, ...]:
    """The group that a label is of, if the table has it."""
    label = names.table().get(number)
    return (label.group,) if label else ()


def _head(kind: str) -> bytes:
    return f"# nephra {nephra_version()} {kind}: one closed surface per object\n".encode()


def _blocks(rows: NDArray[Number]) -> Iterator[NDArray[Number]]:
    return (rows[i : i + _BLOCK] for i in range(0, len(rows), _BLOCK))
