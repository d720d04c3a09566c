"""GLB: its format, levels of detail, Draco."""

from __future__ import annotations

import json
import struct
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from nephra_contract import draco
from nephra_contract import labels as names
from nephra_contract.errors import EngineMissing
from nephra_contract.scene import Level, Mesh, Scene
from nephra_contract.scene_files import write_scene

trimesh: Any = pytest.importorskip("trimesh", reason="trimesh reads the files back")

KIDNEY, ARTERY = names.KIDNEY_RIGHT, names.ARTERY


def ball(label: int, centre: tuple[float, float, float], radii: tuple[float, float, float]) -> Mesh:
    """An ellipsoid in RAS+ mm."""
    shape = trimesh.creation.icosphere(subdivisions=2)
    points = np.asarray(shape.vertices) * radii + centre
    return Mesh(label, points, np.asarray(shape.faces, np.int64))


def scene(space: Literal["LPS", "RAS"] = "LPS") -> Scene:
    """A kidney on the right and a vessel, far from the origin."""
    kidney = ball(KIDNEY, (60.12345, -40, 1210), (10, 20, 30))
    return Scene((kidney, ball(ARTERY, (-2, -10, 1200), (4, 4, 50))), space)


def objects(path: Path) -> dict[str, Any]:
    """Object by name, as trimesh reads them."""
    return dict(trimesh.load_scene(path).geometry)


def test_the_glb_is_upright_in_metres(tmp_path: Path) -> None:
    """+x patient left, +y superior, +z anterior; closed and outward."""
    write_scene(tmp_path, scene(), "scene")
    found = objects(tmp_path / "scene.glb")
    assert list(found) == ["kidney_right", "artery"]
    kidney = found["kidney_right"]
    np.testing.assert_allclose(kidney.bounds.mean(axis=0), [-0.06012345, 1.21, -0.04], atol=1e-6)
    np.testing.assert_allclose(np.ptp(kidney.bounds, axis=0), [0.02, 0.06, 0.04], atol=1e-6)
    assert kidney.is_watertight
    assert kidney.volume * 1e9 == pytest.approx(scene().meshes[0].volume_mm3, rel=1e-4)


def glb(path: Path) -> tuple[dict[str, Any], bytes]:
    """(JSON, binary) of a GLB, chunk headers checked."""
    content = path.read_bytes()
    assert struct.unpack_from("<4sII", content) == (b"glTF", 2, len(content))
    length, kind = struct.unpack_from("<I4s", content, 12)
    assert kind == b"JSON"
    size, kind = struct.unpack_from("<I4s", content, 20 + length)
    assert kind == b"BIN\0"
    assert length % 4 == size % 4 == 0
    return json.loads(content[20 : 20 + length]), content[28 + length :]


def test_the_glb_keeps_to_its_format(tmp_path: Path) -> None:
    """Alignment, targets, bounds and component types as glTF 2.0 asks for."""
    write_scene(tmp_path, scene(), "scene")
    document, binary = glb(tmp_path / "scene.glb")
    assert document["asset"]["version"] == "2.0"
    assert document["buffers"] == [{"byteLength": len(binary)}]
    for view in document["bufferViews"]:
        assert view["byteOffset"] % 4 == 0
        assert view["byteOffset"] + view["byteLength"] <= len(binary)
    for mesh, node in zip(document["meshes"], document["nodes"], strict=True):
        primitive = mesh["primitives"][0]
        position = document["accessors"][primitive["attributes"]["POSITION"]]
        normal = document["accessors"][primitive["attributes"]["NORMAL"]]
        indices = document["accessors"][primitive["indices"]]
        view = document["bufferViews"][position["bufferView"]]
        values = np.frombuffer(binary, "<f4", position["count"] * 3, view["byteOffset"])
        assert values.reshape(-1, 3).min(axis=0).tolist() == position["min"]
        assert values.reshape(-1, 3).max(axis=0).tolist() == position["max"]
        assert (position["componentType"], indices["componentType"]) == (5126, 5125)
        assert normal["count"] == position["count"]
        assert node["name"] == mesh["name"]


def coarse(mesh: Mesh) -> Level:
    """A coarser ball of the same bounds."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    shape = trimesh.creation.icosphere(subdivisions=1)
    points = np.asarray(shape.vertices) * (high - low) / 2 + (high + low) / 2
    return Level(points, np.asarray(shape.faces, np.int64), 0.7)


def levelled(compression: Literal["none", "draco"] = "none") -> Scene:
    """The scene with a coarser form of each surface."""
    meshes = tuple(replace(m, levels=(coarse(m),)) for m in scene().meshes)
    return Scene(meshes, compression=compression)


def test_levels_are_nodes_that_the_finest_refers_to(tmp_path: Path) -> None:
    """MSFT_lod with coverage and error; who does not know it sees the finest only."""
    write_scene(tmp_path, levelled(), "scene")
    document, _ = glb(tmp_path / "scene.glb")
    assert document["extensionsUsed"] == ["MSFT_lod"]
    assert "extensionsRequired" not in document
    nodes = document["nodes"]
    roots = [nodes[n] for n in document["scenes"][0]["nodes"]]
    assert [r["name"] for r in roots] == ["kidney_right", "artery"]
    for root in roots:
        (number,) = root["extensions"]["MSFT_lod"]["ids"]
        assert nodes[number]["name"] == f"{root['name']}_lod1"
        assert nodes[number]["extras"]["error_mm"] == 0.7
        assert len(root["extras"]["MSFT_screencoverage"]) == 2
        assert nodes[number]["mesh"] != root["mesh"]
    seen = trimesh.load_scene(tmp_path / "scene.glb").to_mesh()
    assert len(seen.faces) == sum(len(m.faces) for m in scene().meshes)


@pytest.mark.parametrize("made", [scene(), levelled()])
def test_draco_is_smaller_and_within_its_quantisation(tmp_path: Path, made: Scene) -> None:
    """Another decoder finds each vertex within the stated distance, and the same surfaces."""
    engine: Any = pytest.importorskip("DracoPy", reason="DracoPy is optional")
    write_scene(tmp_path, made, "plain")
    write_scene(tmp_path, replace(made, compression="draco"), "packed")
    sizes = [(tmp_path / f"{stem}.glb").stat().st_size for stem in ("plain", "packed")]
    assert sizes[1] < sizes[0] / 3
    document, binary = glb(tmp_path / "packed.glb")
    assert document["extensionsRequired"] == ["KHR_draco_mesh_compression"]
    stated_mm = document["asset"]["extras"]["quantisation_mm"]
    for root, mesh in zip(document["scenes"][0]["nodes"], made.meshes, strict=True):
        (primitive,) = document["meshes"][document["nodes"][root]["mesh"]]["primitives"]
        view = document["bufferViews"][
            primitive["extensions"]["KHR_draco_mesh_compression"]["bufferView"]
        ]
        assert "target" not in view
        data = binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        decoded = engine.decode(data)
        expected = np.sort(mesh.vertices * (-1, 1, 1), axis=0)[:, [0, 2, 1]]
        off_mm = np.abs(np.sort(decoded.points * 1000.0, axis=0) - expected)
        assert off_mm.max() < stated_mm + 1e-3
        solid = trimesh.Trimesh(decoded.points, decoded.faces, process=False)
        assert solid.is_watertight
        assert solid.volume * 1e9 == pytest.approx(mesh.volume_mm3, rel=1e-3)


def test_draco_is_refused_where_it_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clear 422 that says what to install."""
    monkeypatch.setitem(sys.modules, "DracoPy", None)
    monkeypatch.setattr(draco, "find_spec", lambda _: None)
    with pytest.raises(EngineMissing) as refusal:
        write_scene(tmp_path, replace(scene(), compression="draco"), "scene")
    assert (refusal.value.status, refusal.value.code) == (422, "engine_missing")
    assert "[draco]" in refusal.value.action
