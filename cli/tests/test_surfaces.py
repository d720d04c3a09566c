"""Reading named surfaces back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nephra_cli.demo.surfaces import read_obj

_TRIANGLES = """o artery
v 1 2 3
v 2 2 3
v 1 3 3
f 1 2 3
o tumor
v 0 0 0
v 5 0 0
v 0 5 0
f 4//1 5//1 6//1
"""


@pytest.mark.parametrize(("space", "first"), [("LPS", (-1, -2, 3)), ("RAS", (1, 2, 3))])
def test_axes_are_read_from_the_file(
    tmp_path: Path, space: str, first: tuple[float, float, float]
) -> None:
    """LPS becomes RAS+, RAS stays; the numbers are millimetres."""
    path = tmp_path / "scene.obj"
    path.write_text(f"# SPACE={space}\n# UNITS=mm\n{_TRIANGLES}")
    artery, tumor = read_obj(path)
    assert (artery.name, tumor.name) == ("artery", "tumor")
    np.testing.assert_allclose(artery.vertices[0], first)
    np.testing.assert_array_equal(tumor.faces, [[0, 1, 2]])
    assert tumor.vertices.shape == (3, 3)


def test_a_scene_of_ours_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Names, places and volumes of what the contract writes."""
    from nephra_contract.scene import Mesh, Scene
    from nephra_contract.scene_files import write_scene

    vertices = np.array([[0, 0, 0], [9, 0, 0], [0, 9, 0], [0, 0, 9]], dtype=np.float64) + 50
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    meshes = (Mesh(2, vertices, faces), Mesh(201, vertices - 80, faces))
    made = write_scene(tmp_path, Scene(meshes), "scene")
    found = read_obj(tmp_path / made["obj_path"])
    assert [s.name for s in found] == ["kidney_right", "tumor"]
    for surface, mesh in zip(found, meshes, strict=True):
        again = Mesh(mesh.label, surface.vertices, surface.faces)
        assert again.volume_mm3 == pytest.approx(mesh.volume_mm3, rel=1e-4)
        np.testing.assert_allclose(surface.vertices.mean(axis=0), mesh.vertices.mean(axis=0))
