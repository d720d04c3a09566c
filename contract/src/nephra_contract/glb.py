"""GLB after glTF 2.0: metres, Y up; levels of detail and Draco where they are asked for.

Here +x is the patient's left, +y is up (superior) and +z is to the front (anterior), so that a
viewer shows the patient upright and face to face. Coarser levels are nodes of their own, to
which the structure's node refers by MSFT_lod; a viewer that does not know it shows the finest.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nephra_contract import labels as names
from nephra_contract.axes import turned
from nephra_contract.draco import QUANTISATION_MM, compressed
from nephra_contract.obj import group_of, rgba_of
from nephra_contract.results import nephra_version
from nephra_contract.scene import Level, Mesh, Scene, normals

METRES = 1e-3
_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963
_FLOAT, _UINT32 = 5126, 5125
_LOD, _DRACO = "MSFT_lod", "KHR_draco_mesh_compression"
#: A level is shown while the structure covers more of the screen than this; then the next one.
_COVERAGE = (0.3, 0.1, 0.03, 0.01, 0.0)


def glb(scene: Scene) -> Iterator[bytes]:
    """The parts of a GLB.

    Args:
        scene: surfaces in RAS+ mm.

    Raises:
        EngineMissing: Draco is asked for, and is not installed.
    """
    made = _Document(scene.compression == "draco")
    for mesh in scene.meshes:
        made.add(mesh)
    yield from made.parts()


class _Document:
    """The JSON and the binary chunk, as they grow."""

    def __init__(self, draco: bool) -> None:
        self._draco = draco
        self._roots: list[int] = []
        self._lists: dict[str, list[Any]] = {}
        self._binary: list[bytes] = []
        self._size = 0

    def add(self, mesh: Mesh) -> None:
        """Append a structure: its material, and a node and a mesh for each of its levels."""
        name = names.name_of(mesh.label)
        material = self._append("materials", _material(mesh.label))
        about: dict[str, Any] = {"label": mesh.label}
        for group in group_of(mesh.label):
            about["group"] = group
        root = self._node(name, mesh, material, about)
        self._roots.append(root)
        coarser = [
            self._node(
                f"{name}_lod{number}",
                level,
                material,
                about | {"level": number, "error_mm": round(level.error_mm, 4)},
            )
            for number, level in enumerate(mesh.levels, start=1)
        ]
        if coarser:
            node = self._lists["nodes"][root]
            node["extensions"] = {_LOD: {"ids": coarser}}
            node["extras"]["MSFT_screencoverage"] = [*_COVERAGE[: len(coarser)], 0.0]

    def parts(self) -> Iterator[bytes]:
        """Header, JSON, binary."""
        text = json.dumps(self._document(), separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        total = 12 + 8 + len(text) + (8 + self._size if self._size else 0)
        yield struct.pack("<4sII", b"glTF", 2, total)
        yield struct.pack("<I4s", len(text), b"JSON") + text
        if self._size:
            yield struct.pack("<I4s", self._size, b"BIN\0")
            yield from self._binary

    def _document(self) -> dict[str, Any]:
        extras: dict[str, Any] = {"axes": "+x patient left, +y superior, +z anterior", "units": "m"}
        if self._draco:
            extras["quantisation_mm"] = QUANTISATION_MM
        scene: dict[str, Any] = {"name": "nephra"}
        if self._roots:
            scene["nodes"] = self._roots
        document: dict[str, Any] = {
            "asset": {
                "version": "2.0",
                "generator": f"nephra {nephra_version()}",
                "extras": extras,
            },
            "scene": 0,
            "scenes": [scene],
            **self._lists,
        }
        required = [_DRACO] if self._draco and self._roots else []
        used = required + [_LOD] * any("extensions" in n for n in self._lists.get("nodes", ()))
        if used:
            document["extensionsUsed"] = used
        if required:
            document["extensionsRequired"] = required
        if self._size:
            document["buffers"] = [{"byteLength": self._size}]
        return document

    def _node(
        self,
        name: str,
        shape: Mesh | Level,
        material: int,
        about: dict[str, Any],
    ) -> int:
        points = (turned(shape.vertices, "glTF") * METRES).astype("<f4")
        outward = normals(shape.vertices, shape.faces, shape.contact)
        directions = turned(outward, "glTF").astype("<f4")
        add = self._compressed if self._draco else self._plain
        primitive = {**add(points, directions, shape.faces), "material": material}
        mesh = self._append("meshes", {"name": name, "primitives": [primitive]})
        return self._append("nodes", {"name": name, "mesh": mesh, "extras": about})

    def _plain(
        self, points: NDArray[np.float32], directions: NDArray[np.float32], faces: NDArray[np.int64]
    ) -> dict[str, Any]:
        indices = faces.astype("<u4").reshape(-1)
        return {
            "attributes": {
                "POSITION": self._accessor(points, self._view(points.tobytes(), _ARRAY_BUFFER)),
                "NORMAL": self._accessor(
                    directions, self._view(directions.tobytes(), _ARRAY_BUFFER)
                ),
            },
            "indices": self._accessor(
                indices, self._view(indices.tobytes(), _ELEMENT_ARRAY_BUFFER)
            ),
        }

    def _compressed(
        self, points: NDArray[np.float32], directions: NDArray[np.float32], faces: NDArray[np.int64]
    ) -> dict[str, Any]:
        packed = compressed(points, directions, faces, QUANTISATION_MM * METRES)
        if (len(packed.points), len(packed.faces)) != (len(points), len(faces)):
            # Draco parts vertices where a surface touches itself: this one stays as it is.
            return self._plain(points, directions, faces)
        return {
            "attributes": {
                "POSITION": self._accessor(packed.points),
                "NORMAL": self._accessor(packed.normals),
            },
            "indices": self._accessor(packed.faces.reshape(-1)),
            "extensions": {
                _DRACO: {
                    "bufferView": self._view(packed.data),
                    "attributes": {
                        "POSITION": packed.position_id,
                        "NORMAL": packed.normal_id,
                    },
                }
            },
        }

    def _view(self, data: bytes, target: int | None = None) -> int:
        """Append bytes, 4-aligned; gives the number of their view."""
        view = {"buffer": 0, "byteOffset": self._size, "byteLength": len(data)}
        if target is not None:
            view["target"] = target
        padding = b"\0" * (-len(data) % 4)
        self._binary += [data, padding]
        self._size += len(data) + len(padding)
        return self._append("bufferViews", view)

    def _accessor(self, array: NDArray[Any], view: int | None = None) -> int:
        """Describe an array; without a view it comes from an extension."""
        scalar = array.ndim == 1
        accessor: dict[str, Any] = {
            "componentType": _UINT32 if scalar else _FLOAT,
            "count": len(array),
            "type": "SCALAR" if scalar else "VEC3",
        }
        if not scalar:
            accessor |= {"min": array.min(axis=0).tolist(), "max": array.max(axis=0).tolist()}
        if view is not None:
            accessor["bufferView"] = view
        return self._append("accessors", accessor)

    def _append(self, kind: str, item: dict[str, Any]) -> int:
        items = self._lists.setdefault(kind, [])
        items.append(item)
        return len(items) - 1


def _material(number: int) -> dict[str, Any]:
    *colour, opacity = rgba_of(number)
    # glTF's base colour is linear light; the table's colours, as MTL's, are sRGB.
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return {
        "name": names.name_of(number),
        "doubleSided": False,
        "alphaMode": "BLEND" if opacity < 1 else "OPAQUE",
        "pbrMetallicRoughness": {
            "baseColorFactor": [round(c, 6) for c in linear] + [opacity],
            "metallicFactor": 0.0,
            "roughnessFactor": 0.6,
        },
    }
