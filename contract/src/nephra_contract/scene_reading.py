"""Read back what lies in an OBJ or a GLB, in patient space again.

Written for itself, with nothing of what writes the files but their formats: a mistake in an
axis, a unit or a number shows. Files are mapped into memory and looked at piece by piece.
"""

from __future__ import annotations

import json
import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nephra_contract.draco import unpacked

Points = NDArray[np.float64]
Triangles = NDArray[np.int64]

#: Bytes of text that are parsed at once.
_BLOCK = 1 << 22
_FACES = 1 << 17


class Damaged(ValueError):
    """A file that is not what its format asks for."""


@dataclass(frozen=True, eq=False)
class Found:
    """One object of a file.

    Args:
        name: of the object.
        vertices: how many.
        faces: how many.
        low_mm: (3,) RAS+.
        high_mm: (3,) RAS+.
        volume_mm3: enclosed; negative if faces look inward.
        levels: its coarser forms.
    """

    name: str
    vertices: int
    faces: int
    low_mm: Points
    high_mm: Points
    volume_mm3: float
    levels: list[Found] = field(default_factory=list)


def found_in_obj(path: Path) -> list[Found]:
    """The objects of an OBJ that says its space and unit.

    Raises:
        Damaged: it does not, or numbers are missing.
    """
    with _mapped(path) as text:
        head = bytes(text[: max(text.find(b"\no "), 0) or len(text)])
        if b"# UNITS=mm" not in head:
            raise Damaged
        # Patients' left and back are +x and +y in LPS, -x and -y in RAS.
        sign = {b"LPS": (-1.0, -1.0, 1.0), b"RAS": (1.0, 1.0, 1.0)}
        spaces = [s for s in sign if b"# SPACE=" + s in head]
        if len(spaces) != 1:
            raise Damaged
        found, before, start = [], 0, text.find(b"\no ")
        while start >= 0:
            stop = text.find(b"\no ", start + 1)
            end = len(text) if stop < 0 else stop + 1
            found.append(_object(text, start + 1, end, before, np.array(sign[spaces[0]])))
            before += found[-1].vertices
            start = stop
    return found


def found_in_glb(path: Path) -> list[Found]:
    """The root nodes of a GLB's scene, with their levels.

    Raises:
        Damaged: lengths, references or counts do not fit together.
    """
    content = np.memmap(path, np.uint8, "r")
    try:
        *head, size = struct.unpack("<4sIII", content[:16].tobytes())
        if head != [b"glTF", 2, len(content)]:
            raise Damaged
        document: dict[str, Any] = json.loads(content[20 : 20 + size].tobytes())
        roots = document["scenes"][document["scene"]].get("nodes", [])
        return [_node(document, content[28 + size :], number) for number in roots]
    except (KeyError, IndexError, ValueError, struct.error) as error:
        raise Damaged from error


def _object(text: mmap.mmap, start: int, stop: int, before: int, sign: Points) -> Found:
    name = text[start + 2 : text.find(b"\n", start)].decode()
    first, face = text.find(b"\nv ", start, stop) + 1, text.find(b"\nf ", start, stop) + 1
    normal = text.find(b"\nvn ", start, stop) + 1
    if not first or not face:
        raise Damaged
    points = np.concatenate([_numbers(t, b"v ", 3) for t in _texts(text, first, normal or face)])
    if normal and sum(t.count(b"vn ") for t in _texts(text, normal, face)) != len(points):
        raise Damaged
    count, volume = 0, 0.0
    for part in _texts(text, face, stop):
        corners = _numbers(part.replace(b"//", b" "), b"f ", 6 if normal else 3)
        faces = corners[:, :: 2 if normal else 1].astype(np.int64) - 1 - before
        count += len(faces)
        volume += _volume(points, faces)
    return _summary(name, points * sign, count, volume * float(sign.prod()))


def _numbers(text: bytes, prefix: bytes, columns: int) -> Points:
    """Lines of one kind as an array."""
    lines = text.count(b"\n")
    values = np.fromstring(text.replace(prefix, b"").decode("ascii"), sep=" ")
    if text.count(prefix) != lines or len(values) != lines * columns:
        raise Damaged
    return values.reshape(-1, columns)


def _texts(text: mmap.mmap, start: int, stop: int) -> Iterator[bytes]:
    """Pieces of whole lines."""
    while start < stop:
        end = min(start + _BLOCK, stop)
        if end < stop:
            end = text.rfind(b"\n", start, end) + 1
        yield text[start:end]
        start = end


def _node(document: dict[str, Any], body: NDArray[np.uint8], number: int) -> Found:
    node = document["nodes"][number]
    (primitive,) = document["meshes"][node["mesh"]]["primitives"]
    draco = primitive.get("extensions", {}).get("KHR_draco_mesh_compression")
    position = document["accessors"][primitive["attributes"]["POSITION"]]
    indices = document["accessors"][primitive["indices"]]
    if draco is None:
        points = _array(document, body, position, "<f4").reshape(-1, 3)
        faces = _array(document, body, indices, "<u4").reshape(-1, 3)
    else:
        view = document["bufferViews"][draco["bufferView"]]
        start = view["byteOffset"]
        packed = unpacked(body[start : start + view["byteLength"]].tobytes())
        points, faces = packed.points, packed.faces
        if (len(points), faces.size) != (position["count"], indices["count"]):
            raise Damaged
    # glTF: metres; +x patient left, +y up, +z to the front.
    ras = np.stack([-points[:, 0], points[:, 2], points[:, 1]], axis=1) * 1000.0
    blocks = (faces[i : i + _FACES].astype(np.int64) for i in range(0, len(faces), _FACES))
    volume = sum(_volume(ras, block) for block in blocks)
    found = _summary(node["name"], ras, len(faces), volume)
    coarser = node.get("extensions", {}).get("MSFT_lod", {}).get("ids", [])
    found.levels.extend(_node(document, body, level) for level in coarser)
    return found


def _array(
    document: dict[str, Any], body: NDArray[np.uint8], accessor: dict[str, Any], kind: str
) -> NDArray[Any]:
    view = document["bufferViews"][accessor["bufferView"]]
    count = accessor["count"] * {"SCALAR": 1, "VEC3": 3}[accessor["type"]]
    start, size = view["byteOffset"], view["byteLength"]
    if size != count * 4:
        raise Damaged
    return np.asarray(body[start : start + size].view(kind))


def _volume(points: Points, faces: Triangles) -> float:
    """Signed, of the tetrahedra between faces and the first vertex, which keeps digits."""
    if faces.size and (faces.min() < 0 or faces.max() >= len(points)):
        raise Damaged
    a, b, c = ([axis[corner] - axis[0] for axis in points.T] for corner in faces.T)
    turns = ((0, 1, 2), (1, 2, 0), (2, 0, 1))
    return sum(float(a[i] @ (b[j] * c[k] - b[k] * c[j])) for i, j, k in turns) / 6


def _summary(name: str, points: Points, faces: int, volume: float) -> Found:
    return Found(name, len(points), faces, points.min(axis=0), points.max(axis=0), volume)


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    with path.open("rb") as stream:
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        with mapped:
            yield mapped
