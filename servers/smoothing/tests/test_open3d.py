"""method open3d: an optional engine, held to the checks of every surface."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nephra_contract import labels as names
from nephra_contract.errors import EngineMissing
from nephra_contract.operation import Outcome
from nephra_contract.progress import Progress
from nephra_contract.testing import anatomy
from nephra_contract.volume import LabelMap
from nephra_smoothing import open3d_surface
from nephra_smoothing.operations.base import Base, base
from nephra_smoothing.soundness import is_sound
from nephra_smoothing.surface import Surface

LIVER, ARTERY, TUMOR = names.numbers()["liver"], names.ARTERY, names.TUMOR
#: In an environment of its own, with Open3D.
stock = pytest.mark.stock


def made(labels: LabelMap, **parameters: Any) -> Outcome:
    """The outcome, every mesh of which is sound and of its voxels' volume."""
    wish = Base.model_validate({"method": "open3d", **parameters})
    outcome = base(labels, wish, Progress())
    for mesh in outcome.value.meshes:
        assert is_sound(Surface(mesh.vertices, mesh.faces))
        voxels_mm3 = labels.counts[mesh.label] * labels.voxel_volume_mm3
        assert mesh.volume_mm3 == pytest.approx(voxels_mm3, rel=0.002)
    return outcome


def ball(spacing: tuple[float, float, float]) -> LabelMap:
    """Of 15 mm."""
    labels = LabelMap(
        np.zeros([round(40 / s) for s in spacing], np.uint8), np.diag([*spacing, 1.0])
    )
    world = labels.to_world(np.argwhere(np.ones(labels.shape, bool)))
    inside = np.linalg.norm(world - (19.6, 20.2, 19.9), axis=1) < 15
    labels.voxels[inside.reshape(labels.shape)] = LIVER
    return labels


def test_without_open3d_the_method_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clear 422 that says what to install or which methods there are."""
    monkeypatch.setattr(open3d_surface, "find_spec", lambda _: None)
    with pytest.raises(EngineMissing) as refusal:
        made(anatomy())
    assert (refusal.value.status, refusal.value.code) == (422, "engine_missing")
    assert "nephra-smoothing[open3d]" in refusal.value.action


def test_an_open3d_that_cannot_be_loaded_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing system library is no crash, and its path is not shown."""

    def fails() -> None:
        raise ImportError("/usr/lib/libusb-1.0.so.0: cannot open")

    monkeypatch.setattr(open3d_surface, "find_spec", lambda _: object())
    monkeypatch.setattr(open3d_surface, "_engine", fails)
    with pytest.raises(EngineMissing) as refusal:
        made(anatomy())
    assert "/usr" not in refusal.value.detail + refusal.value.action


@stock
@pytest.mark.parametrize("spacing", [(0.8, 0.8, 0.8), (0.8, 0.8, 5.0)])
def test_a_ball_is_smooth_and_of_few_triangles(spacing: tuple[float, float, float]) -> None:
    """Distance to the true ball, and less triangles than a simplification of nothing has."""
    labels = ball(spacing)
    counts = []
    for error_mm in (0.0, 0.1):
        outcome = made(labels, decimation_error_mm=error_mm)
        (mesh,) = outcome.value.meshes
        off = np.abs(np.linalg.norm(mesh.vertices - (19.6, 20.2, 19.9), axis=1) - 15)
        assert off.mean() < (0.2 if spacing[2] < 5 else 0.5)
        said = outcome.report["structures"]["liver"]
        assert said["method"] == "open3d"
        assert said["decimation_error_mm"] <= error_mm
        counts.append(said["triangles"])
    assert counts[1] < counts[0] / 2


@stock
def test_every_structure_of_an_anatomy_is_closed() -> None:
    """Organs and tubes, by Open3D; the same twice."""
    first, second = made(anatomy()), made(anatomy())
    assert {s["method"] for s in first.report["structures"].values()} == {"open3d"}
    for a, b in zip(first.value.meshes, second.value.meshes, strict=True):
        np.testing.assert_array_equal(a.vertices, b.vertices)


def odd(kind: str) -> NDArray[np.bool_]:
    """Masks that no anatomy is like."""
    mask = np.zeros((12, 13, 11), bool)
    if kind == "one voxel":
        mask[5, 6, 7] = True
    elif kind == "one slice":
        mask[:, :, 8] = True
    elif kind == "touching all borders":
        mask[:] = True
    elif kind == "chessboard":
        mask[:] = np.indices(mask.shape).sum(axis=0) % 2 == 0
    elif kind == "hollow shell":
        mask[1:-1, 1:-1, 1:-1] = True
        mask[4:7, 4:7, 4:7] = False
    else:
        mask[:] = np.random.default_rng(6).random(mask.shape) < 0.3
    return mask


@stock
@pytest.mark.parametrize("number", [LIVER, ARTERY])
@pytest.mark.parametrize(
    "kind",
    ["one voxel", "one slice", "touching all borders", "chessboard", "hollow shell", "noise"],
)
def test_odd_masks_are_answered(kind: str, number: int) -> None:
    """Never an open surface; where Open3D gives one, method base's stands in and it is said."""
    outcome = made(LabelMap((odd(kind) * number).astype(np.uint8), np.diag([0.9, 1.1, 2, 1])))
    (said,) = outcome.report["structures"].values()
    assert said["method"] == "open3d" or any("method base" in w for w in outcome.warnings)


@stock
def test_an_open_surface_is_not_handed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Open3D spoils is made by method base instead, with a warning."""

    def torn(rough: Surface, *_: Any) -> Surface:
        return Surface(rough.points, rough.faces[1:])

    monkeypatch.setattr(open3d_surface, "_smoothed", torn)
    outcome = made(ball((1.0, 1.0, 1.0)))
    assert "method base" in outcome.warnings[0]


@stock
def test_levels_and_smoothing_work_as_elsewhere() -> None:
    """Coarser levels; a width of 0 leaves the stairs."""
    (mesh,) = made(ball((1.0, 1.0, 1.0)), lod=1).value.meshes
    assert len(mesh.levels) == 1
    stairs = made(ball((1.0, 1.0, 1.0)), smoothing_mm=0, decimation_error_mm=0)
    smooth = made(ball((1.0, 1.0, 1.0)), decimation_error_mm=0)
    rough = [
        np.linalg.norm(o.value.meshes[0].vertices - (19.6, 20.2, 19.9), axis=1).std()
        for o in (stairs, smooth)
    ]
    assert rough[0] > 1.5 * rough[1]
