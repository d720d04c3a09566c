"""OBJ, MTL and GLB: what another reader finds in them is what was written."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from nephra_contract import glb as glb_module
from nephra_contract import labels as names
from nephra_contract import obj, scene_files, scene_reading
from nephra_contract.axes import turned
from nephra_contract.decimals import doubled, fixed_point, whole
from nephra_contract.errors import InternalError
from nephra_contract.scene import Extent, Mesh, Scene
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


def test_the_files_are_named_after_the_stem(tmp_path: Path) -> None:
    """The answer's members name the files that are there, and no other."""
    made = write_scene(tmp_path, scene(), "liver 7")
    assert made == {
        "obj_path": "liver 7.obj", "mtl_path": "liver 7.mtl", "glb_path": "liver 7.glb"
    }  # fmt: skip
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(made.values())


def test_the_obj_says_its_axes_and_units(tmp_path: Path) -> None:
    """A reader need not guess."""
    write_scene(tmp_path, scene(), "scene")
    head = (tmp_path / "scene.obj").read_text().splitlines()[:4]
    assert "# SPACE=LPS" in head
    assert "# UNITS=mm" in head
    assert "mtllib scene.mtl" in head
    write_scene(tmp_path, scene("RAS"), "scene")
    assert "# SPACE=RAS" in (tmp_path / "scene.obj").read_text().splitlines()[:4]


def test_each_structure_is_an_object_a_group_and_a_material(tmp_path: Path) -> None:
    """Programs that know only one of the three find the name all the same."""
    write_scene(tmp_path, scene(), "scene")
    text = (tmp_path / "scene.obj").read_text().splitlines()
    for word in ("o", "g", "usemtl"):
        found = [line.split()[1] for line in text if line.startswith(f"{word} ")]
        assert found == ["kidney_right", "artery"]


@pytest.mark.parametrize(("space", "sign"), [("LPS", (-1, -1, 1)), ("RAS", (1, 1, 1))])
def test_the_obj_holds_the_scene_in_millimetres(
    tmp_path: Path, space: Literal["LPS", "RAS"], sign: tuple[int, int, int]
) -> None:
    """Bounds, volume, closedness: x and y change sign in LPS, faces still look outward."""
    write_scene(tmp_path, scene(space), "scene")
    found = objects(tmp_path / "scene.obj")
    assert set(found) == {"kidney_right", "artery"}
    for mesh in scene().meshes:
        read = found[names.name_of(mesh.label)]
        turned = mesh.vertices * sign
        np.testing.assert_allclose(read.bounds, [turned.min(axis=0), turned.max(axis=0)], atol=6e-5)
        assert read.is_watertight
        assert read.volume == pytest.approx(mesh.volume_mm3, rel=1e-4)
        assert len(read.faces) == len(mesh.faces)


def test_materials_are_those_of_the_label_table(tmp_path: Path) -> None:
    """Colour and opacity in MTL and GLB; what lets light through is blended."""
    write_scene(tmp_path, scene(), "scene")
    red, green, blue, opacity = names.table()[KIDNEY].rgba
    lines = (tmp_path / "scene.mtl").read_text().splitlines()
    start = lines.index("newmtl kidney_right")
    block = lines[start + 1 : start + 7]
    assert f"Kd {red:.4f} {green:.4f} {blue:.4f}" in block
    assert f"d {opacity:.4f}" in block
    document, _ = glb(tmp_path / "scene.glb")
    kidney, artery = document["materials"]
    assert (kidney["alphaMode"], artery["alphaMode"]) == ("BLEND", "OPAQUE")
    assert kidney["pbrMetallicRoughness"]["baseColorFactor"][3] == opacity
    assert not kidney["doubleSided"]


def test_the_same_scene_gives_the_same_bytes(tmp_path: Path) -> None:
    """No date, no order by chance."""
    contents = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        made = write_scene(folder, scene(), "scene")
        contents.append([(folder / name).read_bytes() for name in made.values()])
    assert contents[0] == contents[1]


def test_a_scene_without_structures_is_a_valid_file(tmp_path: Path) -> None:
    """Nothing to show is no crash."""
    write_scene(tmp_path, Scene(()), "scene")
    content = (tmp_path / "scene.glb").read_bytes()
    assert struct.unpack_from("<4sII", content) == (b"glTF", 2, len(content))


def test_damage_on_disk_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read back is compared: a wrong vertex never counts as done."""

    def shifted(prefix: bytes, values: NDArray[np.float64]) -> bytes:
        return fixed_point(prefix, values + 0.01)

    monkeypatch.setattr(obj, "fixed_point", shifted)
    with pytest.raises(InternalError):
        write_scene(tmp_path, scene(), "scene")


def test_numbers_are_written_as_python_would() -> None:
    """Signs, zeros, rounding and widths, against Python's own formatting."""
    values = np.array([[0.0, -0.00004, 1.5], [-1234.56789, 0.12345, 99999.99996], [7, -0.5, 10]])
    expected = "".join(
        "v " + " ".join(f"{round(v * 1e4) / 1e4 + 0.0:.4f}" for v in row) + "\n" for row in values
    )
    assert fixed_point(b"v", values).decode() == expected
    assert whole(b"f", np.array([[1, 20, 300], [0, 5, 6]])) == b"f 1 20 300\nf 0 5 6\n"
    assert doubled(b"f", np.array([[1, 20, 300]])) == b"f 1//1 20//20 300//300\n"


def test_many_lines_are_written_in_blocks() -> None:
    """More lines than fit a block come out in order and complete."""
    numbers = np.arange(300_000, dtype=np.int64).reshape(-1, 1)
    found = whole(b"f", numbers).splitlines()
    assert found == [b"f %d" % n for n in range(300_000)]


def test_groups_of_the_table_are_groups_of_the_obj(tmp_path: Path) -> None:
    """A viewer can switch off all kidneys at once; what no table names has its own group only."""
    meshes = (*scene().meshes, ball(251, (0, 0, 0), (3, 3, 3)))
    write_scene(tmp_path, Scene(meshes), "scene")
    text = (tmp_path / "scene.obj").read_text().splitlines()
    groups = [line for line in text if line.startswith("g ")]
    assert groups == ["g kidney_right kidney", "g artery", "g label_251"]
    document, _ = glb(tmp_path / "scene.glb")
    assert [n["extras"].get("group") for n in document["nodes"]] == ["kidney", "artery", None]
    assert [n["name"] for n in document["nodes"]] == ["kidney_right", "artery", "label_251"]


def test_normals_stand_in_the_obj_on_request(tmp_path: Path) -> None:
    """One per vertex, outward, in the file's axes; faces name both."""
    write_scene(tmp_path, replace(scene(), normals=True), "scene")
    text = (tmp_path / "scene.obj").read_text().splitlines()
    vertices = np.array([line.split()[1:] for line in text if line.startswith("v ")], float)
    normals = np.array([line.split()[1:] for line in text if line.startswith("vn ")], float)
    assert len(vertices) == len(normals)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=2e-4)
    count = len(scene().meshes[0].vertices)
    centre = vertices[:count].mean(axis=0)
    assert (((vertices[:count] - centre) * normals[:count]).sum(axis=1) > 0).all()
    faces = [line.split()[1:] for line in text if line.startswith("f ")]
    assert all(a.split("//")[0] == a.split("//")[1] for face in faces for a in face)
    found = objects(tmp_path / "scene.obj")
    assert all(m.is_watertight and m.volume > 0 for m in found.values())


def at_its_voxels(mesh: Mesh) -> Mesh:
    """With the extent of the voxels that it stands for."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    return replace(mesh, voxels=Extent(low + 0.5, high - 0.5, np.full(3, 1.5)))


@pytest.mark.parametrize("suffix", ["obj", "glb"])
@pytest.mark.parametrize(
    "flip", [np.diag(d) for d in ([-1.0, 1, 1], [1.0, -1, 1], [-1.0, -1, 1], [1.0, -1, -1])]
)
def test_a_wrong_axis_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flip: NDArray[np.float64], suffix: str
) -> None:
    """A writer that turns or mirrors the patient does not get away with it, in either file."""

    def wrong(points: NDArray[np.float64], space: str) -> NDArray[np.float64]:
        return np.asarray(turned(points, space) @ flip)

    made = Scene(tuple(at_its_voxels(m) for m in scene().meshes))
    write_scene(tmp_path, made, "scene")
    monkeypatch.setattr(obj if suffix == "obj" else glb_module, "turned", wrong)
    with pytest.raises(InternalError):
        write_scene(tmp_path, made, "scene")


@pytest.mark.parametrize("flip", [(-1, 1, 1), (-1, -1, 1), (1, -1, -1)])
def test_a_surface_beside_its_voxels_is_noticed(tmp_path: Path, flip: tuple[int, int, int]) -> None:
    """Bounds are held to the mask's in the patient, not only to the scene's."""
    kidney = at_its_voxels(scene().meshes[0])
    faces = kidney.faces if np.prod(flip) > 0 else kidney.faces[:, ::-1]
    wrong = replace(kidney, vertices=kidney.vertices * flip, faces=faces)
    with pytest.raises(InternalError):
        write_scene(tmp_path, Scene((wrong,)), "scene")


@pytest.mark.parametrize("what", ["name", "face", "vertex", "inside out", "half a file"])
@pytest.mark.parametrize("suffix", ["obj", "glb"])
def test_files_that_lack_something_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, suffix: str
) -> None:
    """A name, a count, a winding, an end."""
    right = scene()
    kidney, artery = right.meshes
    spoilt = {
        "name": replace(kidney, label=names.KIDNEY_LEFT),
        "face": replace(kidney, faces=kidney.faces[1:]),
        "vertex": replace(kidney, vertices=kidney.vertices[:-1], faces=kidney.faces[:50]),
        "inside out": replace(kidney, faces=kidney.faces[:, ::-1]),
        "half a file": kidney,
    }[what]
    writer: Any = obj.obj if suffix == "obj" else glb_module.glb

    def write(given: Scene, *more: Any) -> Any:
        parts = b"".join(writer(replace(given, meshes=(spoilt, artery)), *more))
        return [parts[: len(parts) // 2] if what == "half a file" else parts]

    monkeypatch.setattr(scene_files, suffix, write)
    with pytest.raises(InternalError):
        write_scene(tmp_path, right, "scene")


def test_large_files_are_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces end at ends of lines, and nothing is counted twice."""
    monkeypatch.setattr(scene_reading, "_BLOCK", 1000)
    monkeypatch.setattr(scene_reading, "_FACES", 7)
    write_scene(tmp_path, scene(), "scene")
    write_scene(tmp_path, replace(scene(), normals=True, space="RAS"), "scene")
