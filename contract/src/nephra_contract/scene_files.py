"""OBJ with MTL, and GLB: written here, with stated units and axes.

OBJ is in millimetres, in LPS (DICOM's axes) unless the scene says RAS. GLB follows glTF 2.0:
metres, Y up. There +x is the patient's left, +y is up (superior) and +z is to the front
(anterior), so that a viewer shows the patient upright and face to face. Both changes of axes
are rotations: the winding of the faces stays. The same scene gives the same bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nephra_contract import labels as names
from nephra_contract.decimals import fixed_point, whole
from nephra_contract.errors import InternalError
from nephra_contract.results import nephra_version
from nephra_contract.scene import Mesh, Scene

#: RAS+ → axes of the file, as signs and source axes.
_AXES: dict[str, NDArray[np.float64]] = {
    "RAS": np.eye(3),
    "LPS": np.diag([-1.0, -1.0, 1.0]),
    "glTF": np.array([[-1.0, 0, 0], [0, 0, 1], [0, 1, 0]]),
}
#: OBJ holds four decimals; half of the last one, and what float64 adds.
_OBJ_ROUNDING_MM = 0.5e-4 + 1e-9
_METRES = 1e-3
_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963
_FLOAT, _UINT32 = 5126, 5125


def write_scene(folder: Path, scene: Scene, stem: str) -> dict[str, str]:
    """Write `stem`.obj, `stem`.mtl and `stem`.glb, and read them back.

    Args:
        folder: where; it exists.
        scene: surfaces in RAS+ mm.
        stem: the files' name without suffix.

    Returns:
        The answer's members: `obj_path`, `mtl_path`, `glb_path` → names of files.

    Raises:
        InternalError: what lies on disk is not what was to be written.
    """
    obj, mtl, glb = (f"{stem}.{suffix}" for suffix in ("obj", "mtl", "glb"))
    _write(folder / mtl, _mtl(scene))
    _write(folder / obj, _obj(scene, mtl))
    _write(folder / glb, _glb(scene))
    _check(_found_in_obj(folder / obj), _expected(scene, scene.space, 1.0), _OBJ_ROUNDING_MM)
    # float32 metres: 24 binary digits of at most some metres.
    _check(_found_in_glb(folder / glb), _expected(scene, "glTF", _METRES), 1e-6)
    return {"obj_path": obj, "mtl_path": mtl, "glb_path": glb}


def turned(points: NDArray[np.float64], space: str) -> NDArray[np.float64]:
    """(N, 3) RAS+ points or directions in the axes `RAS`, `LPS` or `glTF`; units stay."""
    return np.asarray(points @ _AXES[space].T)


def _write(path: Path, parts: Iterable[bytes]) -> None:
    with path.open("wb") as stream:
        stream.writelines(parts)


def _head(kind: str) -> bytes:
    return f"# nephra {nephra_version()} {kind}: one closed surface per object\n".encode()


def _obj(scene: Scene, mtl: str) -> Iterable[bytes]:
    yield _head("scene")
    yield f"# SPACE={scene.space}\n# UNITS=mm\nmtllib {mtl}\n".encode()
    before = 1
    for mesh in scene.meshes:
        name = names.name_of(mesh.label)
        yield f"o {name}\ng {name}\nusemtl {name}\n".encode()
        yield fixed_point(b"v", turned(mesh.vertices, scene.space))
        yield whole(b"f", mesh.faces + before)
        before += len(mesh.vertices)


def _mtl(scene: Scene) -> Iterable[bytes]:
    yield _head("materials")
    for mesh in scene.meshes:
        *colour, opacity = _rgba(mesh.label)
        shown = " ".join(f"{c:.4f}" for c in colour)
        yield (
            f"newmtl {names.name_of(mesh.label)}\nKa {shown}\nKd {shown}\n"
            f"Ks 0.1000 0.1000 0.1000\nNs 20.0000\nd {opacity:.4f}\nillum 2\n"
        ).encode()


def _rgba(number: int) -> tuple[float, float, float, float]:
    label = names.table().get(number)
    return label.rgba if label else (0.6, 0.6, 0.6, 1.0)


def _glb(scene: Scene) -> Iterable[bytes]:
    document: dict[str, Any] = {
        "asset": {
            "version": "2.0",
            "generator": f"nephra {nephra_version()}",
            "extras": {"axes": "+x patient left, +y superior, +z anterior", "units": "m"},
        },
        "scene": 0,
        "scenes": [{"name": "nephra", "nodes": list(range(len(scene.meshes)))}],
    }
    binary: list[bytes] = []
    for mesh in scene.meshes:
        _add_mesh(document, binary, mesh)
    body = b"".join(binary)
    if body:
        document["buffers"] = [{"byteLength": len(body)}]
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + (8 + len(body) if body else 0)
    yield struct.pack("<4sII", b"glTF", 2, total)
    yield struct.pack("<I4s", len(text), b"JSON") + text
    if body:
        yield struct.pack("<I4s", len(body), b"BIN\0") + body


def _add_mesh(document: dict[str, Any], binary: list[bytes], mesh: Mesh) -> None:
    """Append a node with its mesh, material, accessors and buffer views; all are 4-aligned."""
    positions = (turned(mesh.vertices, "glTF") * _METRES).astype("<f4")
    normals = turned(mesh.normals, "glTF").astype("<f4")
    bounds = {"min": positions.min(axis=0).tolist(), "max": positions.max(axis=0).tolist()}
    position = _add_array(document, binary, positions, _ARRAY_BUFFER, **bounds)
    normal = _add_array(document, binary, normals, _ARRAY_BUFFER)
    indices = _add_array(
        document, binary, mesh.faces.astype("<u4").reshape(-1, 1), _ELEMENT_ARRAY_BUFFER
    )
    name = names.name_of(mesh.label)
    number = len(document.setdefault("meshes", []))
    document.setdefault("nodes", []).append(
        {"name": name, "mesh": number, "extras": {"label": mesh.label}}
    )
    document["meshes"].append(
        {
            "name": name,
            "primitives": [
                {
                    "attributes": {"POSITION": position, "NORMAL": normal},
                    "indices": indices,
                    "material": number,
                }
            ],
        }
    )
    document.setdefault("materials", []).append(_material(mesh.label))


def _add_array(
    document: dict[str, Any], binary: list[bytes], array: NDArray[Any], target: int, **more: Any
) -> int:
    """Append one array; gives its accessor's number."""
    views: list[dict[str, int]] = document.setdefault("bufferViews", [])
    offset = views[-1]["byteOffset"] + views[-1]["byteLength"] if views else 0
    views.append({"buffer": 0, "byteOffset": offset, "byteLength": array.nbytes, "target": target})
    binary.append(array.tobytes())
    scalar = array.shape[1] == 1
    accessors: list[dict[str, Any]] = document.setdefault("accessors", [])
    accessors.append(
        {
            "bufferView": len(views) - 1,
            "componentType": _UINT32 if scalar else _FLOAT,
            "count": len(array),
            "type": "SCALAR" if scalar else "VEC3",
            **more,
        }
    )
    return len(accessors) - 1


def _material(number: int) -> dict[str, Any]:
    *colour, opacity = _rgba(number)
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


#: name, vertices, faces, lowest and highest corner in the file's axes and unit
_Found = tuple[str, int, int, NDArray[np.float64], NDArray[np.float64]]


def _expected(scene: Scene, space: str, unit: float) -> list[_Found]:
    return [
        _found(names.name_of(m.label), turned(m.vertices, space) * unit, len(m.faces))
        for m in scene.meshes
    ]


def _found(name: str, points: NDArray[np.float64], faces: int) -> _Found:
    return name, len(points), faces, points.min(axis=0), points.max(axis=0)


def _found_in_obj(path: Path) -> list[_Found]:
    objects = []
    for part in path.read_bytes().split(b"\no ")[1:]:
        name, rest = part.split(b"\n", 1)
        start, stop = rest.index(b"v "), rest.index(b"\nf ")
        values = np.fromstring(rest[start:stop].replace(b"v", b"").decode(), sep=" ")
        faces = rest.count(b"\nf ")
        objects.append(_found(name.decode(), values.reshape(-1, 3), faces))
    return objects


def _found_in_glb(path: Path) -> list[_Found]:
    content = path.read_bytes()
    if struct.unpack_from("<4sII", content) != (b"glTF", 2, len(content)):
        raise _damaged()
    (size,) = struct.unpack_from("<I", content, 12)
    document, body = json.loads(content[20 : 20 + size]), 20 + size + 8
    objects = []
    for node in document.get("nodes", []):
        primitive = document["meshes"][node["mesh"]]["primitives"][0]
        position = document["accessors"][primitive["attributes"]["POSITION"]]
        start = body + document["bufferViews"][position["bufferView"]]["byteOffset"]
        points = np.frombuffer(content, "<f4", position["count"] * 3, start).reshape(-1, 3)
        faces = document["accessors"][primitive["indices"]]["count"] // 3
        objects.append(_found(node["name"], points.astype(np.float64), faces))
    return objects


def _check(found: list[_Found], expected: list[_Found], tolerance: float) -> None:
    if [f[:3] for f in found] != [e[:3] for e in expected]:
        raise _damaged()
    for f, e in zip(found, expected, strict=True):
        if max(np.abs(f[3] - e[3]).max(), np.abs(f[4] - e[4]).max()) > tolerance:
            raise _damaged()


def _damaged() -> InternalError:
    return InternalError(
        "The files of the scene, read back, are not what was computed.",
        "Send the request again; report it if it happens twice.",
    )
