"""Meshes as they travel from an operation to a file."""

from __future__ import annotations

import numpy as np
import pytest

from nephra_contract.scene import Mesh, Scene

CORNERS = np.array([[0.0, 0, 0], [3, 0, 0], [0, 2, 0], [0, 0, 1]])
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


def test_the_volume_is_the_enclosed_one_wherever_it_lies() -> None:
    """A tetrahedron of known volume, near the origin and a kilometre away."""
    assert Mesh(2, CORNERS, FACES).volume_mm3 == pytest.approx(1.0)
    assert Mesh(2, CORNERS + 1e6, FACES).volume_mm3 == pytest.approx(1.0)
    assert Mesh(2, CORNERS, FACES[:, ::-1]).volume_mm3 == pytest.approx(-1.0)


def test_a_mesh_without_faces_has_no_volume() -> None:
    """Nothing encloses nothing."""
    assert Mesh(2, CORNERS, np.zeros((0, 3), np.int64)).volume_mm3 == 0


def test_normals_look_outward_and_have_unit_length() -> None:
    """At each corner of a convex body the normal leads away from its middle."""
    normals = Mesh(2, CORNERS, FACES).normals
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1)
    assert ((CORNERS - CORNERS.mean(axis=0)) * normals).sum(axis=1).min() > 0


def test_normals_that_cancel_are_unit_vectors_all_the_same() -> None:
    """Readers want unit length even where a surface is flat and double."""
    flat = Mesh(2, CORNERS[:3], np.array([[0, 1, 2], [0, 2, 1]]))
    np.testing.assert_allclose(np.linalg.norm(flat.normals, axis=1), 1)


def test_a_scene_is_in_lps_unless_it_says_otherwise() -> None:
    """What surgeons' programs and DICOM use."""
    assert Scene(()).space == "LPS"
