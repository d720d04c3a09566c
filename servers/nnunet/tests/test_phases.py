from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nephra_contract.errors import PhasesApart
from nephra_contract.progress import Progress
from nephra_contract.volume import LabelMap, Volume
from nephra_nnunet.alignment import onto
from nephra_nnunet.body import body_midline_x_mm
from nephra_nnunet.manifest import Phase
from nephra_nnunet.phases import Enhancement, PhaseContradicted, judge, measure

ARTERIAL = Enhancement(310, 60, 130, 20)
PORTAL = Enhancement(160, 155, 190, 15)
DELAYED = Enhancement(105, 100, 125, 450)
NATIVE = Enhancement(42, 40, 32, 8)


@pytest.mark.parametrize(("found", "phase"), [(ARTERIAL, "A"), (PORTAL, "P"), (DELAYED, "D")])
def test_the_right_phase_is_not_complained_about(found: Enhancement, phase: Phase) -> None:
    """Textbook enhancement passes, also where strict."""
    assert judge(found, phase, strict=True) is None


@pytest.mark.parametrize(
    ("found", "phase"),
    [
        (DELAYED, "A"), (PORTAL, "A"), (NATIVE, "A"), (ARTERIAL, "P"), (NATIVE, "P"),
        (DELAYED, "P"), (ARTERIAL, "D"), (NATIVE, "D"),
    ],
)  # fmt: skip
def test_a_wrong_phase_is_a_warning_or_an_error(found: Enhancement, phase: Phase) -> None:
    """The sentence names the phase; strict makes it a refusal."""
    assert f"({phase})" in str(judge(found, phase, strict=False))
    with pytest.raises(PhaseContradicted):
        judge(found, phase, strict=True)


def test_what_is_not_labelled_is_not_judged() -> None:
    """No structures, no contradiction."""
    for phase in ("A", "P", "D"):
        assert judge(Enhancement(None, None, None, None), phase, strict=True) is None


def test_enhancement_is_measured_where_structures_are(tiny: Any) -> None:
    """The median within each structure, and nothing for one that is not there."""
    image = tiny.ct()
    voxels = np.zeros(image.shape, np.uint8)
    voxels[image.voxels > 250] = 52
    voxels[(image.voxels > 140) & (image.voxels < 220)] = 2
    found = measure(image, LabelMap(voxels, image.affine))
    assert found.artery_hu == pytest.approx(300, abs=10)
    assert found.kidney_hu == pytest.approx(180, abs=10)
    assert found.vein_hu is None
    assert "vein_hu" not in found.named()


def test_the_midline_is_the_bodys_not_the_grids(tiny: Any) -> None:
    """A patient who lies aside, with a table beneath, however the axes are stored."""
    image: Volume = tiny.ct((40, 34, 26))
    voxels = np.full((60, 50, 26), -1000, np.int16)
    voxels[:40, 5:39] = image.voxels
    voxels[10:60, 48] = 200
    for flip in (False, True):
        affine = image.affine.copy()
        stored = voxels
        if flip:
            stored = voxels[::-1]
            affine[:3, 3] += affine[:3, 0] * 59
            affine[:3, 0] *= -1
        midline = body_midline_x_mm(Volume(stored, affine))
        expected = image.affine[0, 3] + image.affine[0, 0] * 19.5
        assert midline == pytest.approx(expected, abs=3)


def test_air_has_no_midline() -> None:
    """Nothing to stand on."""
    assert body_midline_x_mm(Volume(np.full((5, 5, 5), -1000, np.int16), np.eye(4))) is None


def test_an_image_moves_onto_another_grid_in_world_space() -> None:
    """A linear ramp stays the same ramp in the patient, also on an oblique grid."""
    index = np.stack(np.meshgrid(*(np.arange(30),) * 3, indexing="ij"), axis=-1)
    world = index @ np.diag([2.0, 2, 2]) - 20
    ramp = Volume(np.rint(world @ [3.0, 5, 7]).astype(np.int16), np.diag([2.0, 2, 2, 1]))
    ramp.affine[:3, 3] = -20
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    for linear in (np.eye(3) * 1.5, turn * 1.5):
        affine = np.eye(4)
        affine[:3, :3] = linear
        moved = onto(ramp, Volume(np.zeros((8, 8, 8)), affine), ("a", "b"), Progress())
        places = moved.to_world(np.argwhere(np.ones((8, 8, 8))))
        inside = (places > -19).all(axis=1) & (places < 37).all(axis=1)
        assert moved.voxels.dtype == np.int16
        expected = places @ [3.0, 5, 7]
        assert np.abs(moved.voxels.ravel() - expected)[inside].max() <= 2


def test_phases_apart_come_with_their_places(tiny: Any) -> None:
    """The error has both extents in millimetres."""
    image: Volume = tiny.ct()
    affine = image.affine.copy()
    affine[2, 3] += 1000
    with pytest.raises(PhasesApart) as caught:
        onto(Volume(image.voxels, affine), image, ("portal-venous", "arterial"), Progress())
    assert set(caught.value.extra["extent_mm"]) == {"portal-venous", "arterial"}
    assert "960" in caught.value.detail
