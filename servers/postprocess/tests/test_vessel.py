"""Promises of `postprocess/vessel`."""

from __future__ import annotations

from pathlib import Path

import cc3d
import edt
import numpy as np
import pytest
from numpy.typing import NDArray

from nephra_contract import labels as names
from nephra_contract.errors import RequestInvalid, StructureMissing
from nephra_contract.nifti import read_labels
from nephra_contract.operation import Outcome
from nephra_contract.progress import Progress
from nephra_contract.testing import OperationTests, anatomy
from nephra_contract.volume import LabelMap, bounding_box
from nephra_postprocess.operations.vessel import OPERATION, Vessel, join_vessels

SPACING_MM = (0.8, 0.8, 1.5)


class TestVessel(OperationTests):
    """The conformance suite."""

    operation = OPERATION
    empty_error = StructureMissing


def _join(labels: LabelMap, **parameters: object) -> Outcome:
    return join_vessels(labels, Vessel.model_validate(parameters), Progress())


def _pieces(labels: LabelMap, *numbers: int) -> int:
    mask = np.ascontiguousarray(labels.mask(numbers))
    return int(cc3d.connected_components(mask, connectivity=26, return_N=True)[1])


def _empty(shape: tuple[int, int, int] = (60, 60, 60)) -> LabelMap:
    return LabelMap(np.zeros(shape, np.uint8), np.diag([*SPACING_MM, 1.0]))


def _tube(
    labels: LabelMap,
    start_mm: tuple[float, float, float],
    stop_mm: tuple[float, float, float],
    radius_mm: float,
) -> NDArray[np.bool_]:
    """A straight tube with flat ends."""
    points = labels.to_world(np.argwhere(np.ones(labels.shape, bool))).reshape(*labels.shape, 3)
    a, b = np.asarray(start_mm), np.asarray(stop_mm)
    along = (b - a) / np.linalg.norm(b - a)
    t = (points - a) @ along
    across = np.linalg.norm(points - a - t[..., None] * along, axis=-1)
    return np.asarray((t >= 0) & (t <= np.linalg.norm(b - a)) & (across <= radius_mm))


def _severed(number: int = names.ARTERY, gap_mm: float = 10.0) -> tuple[LabelMap, LabelMap]:
    """A tube along z with a gap in its middle, and the same without."""
    whole = _empty()
    whole.voxels[_tube(whole, (24, 24, 5), (24, 24, 85), 3.0)] = number
    cut = whole.like(whole.voxels.copy())
    cut.voxels[_tube(whole, (24, 24, 45 - gap_mm / 2), (24, 24, 45 + gap_mm / 2), 6.0)] = 0
    return cut, whole


def test_a_severed_artery_is_one_again_with_its_own_calibre() -> None:
    """The bridge fills the gap as the vessel was, and is reported."""
    cut, whole = _severed()
    outcome = _join(cut)
    assert _pieces(outcome.value, names.ARTERY) == 1
    added = (outcome.value.voxels > 0) & (cut.voxels == 0)
    missing = (whole.voxels > 0) & (cut.voxels == 0)
    assert 2 * (added & missing).sum() / (added.sum() + missing.sum()) > 0.85
    (bridge,) = outcome.report["bridges"]
    assert bridge["structure"] == "artery"
    assert bridge["length_mm"] == pytest.approx(10, abs=2.5)
    assert bridge["radii_mm"] == pytest.approx([3, 3], abs=0.4)
    assert bridge["voxels"] == int(added.sum())
    ends_z = sorted(end[2] for end in bridge["ends_mm"])
    assert ends_z == pytest.approx([40, 50], abs=1.5)


def test_a_whole_vessel_stays_as_it_is() -> None:
    """Nothing to join: not a voxel changes, no bridge is listed."""
    _, whole = _severed()
    outcome = _join(whole)
    np.testing.assert_array_equal(outcome.value.voxels, whole.voxels)
    assert outcome.report["bridges"] == []


def test_a_branch_is_joined_to_the_side_of_its_trunk() -> None:
    """A cut right at the branching leaves one end only; it finds the trunk's wall."""
    labels = _empty()
    labels.voxels[_tube(labels, (12, 24, 2), (12, 24, 88), 5.0)] = names.AORTA
    labels.voxels[_tube(labels, (23, 24, 45), (46, 24, 45), 2.5)] = names.ARTERY
    outcome = _join(labels)
    assert _pieces(outcome.value, names.ARTERY, names.AORTA) == 1
    assert [b["kind"] for b in outcome.report["bridges"]] == ["end_to_side"]
    assert outcome.value.counts[names.AORTA] == labels.counts[names.AORTA]


def test_noise_and_gaps_too_long_are_left_alone_and_said_why() -> None:
    """Blobs, a piece far away, and a tube that points elsewhere stay apart."""
    labels = _empty((60, 60, 100))
    labels.voxels[_tube(labels, (12, 24, 5), (12, 24, 60), 3.0)] = names.ARTERY
    labels.voxels[_tube(labels, (12, 24, 90), (12, 24, 140), 3.0)] = names.ARTERY
    labels.voxels[_tube(labels, (30, 10, 30), (30, 14, 30), 2.5)] = names.ARTERY
    labels.voxels[_tube(labels, (24, 38, 66), (40, 38, 66), 2.0)] = names.ARTERY
    labels.voxels[40, 5, 5] = names.ARTERY
    outcome = _join(labels)
    np.testing.assert_array_equal(outcome.value.voxels, labels.voxels)
    assert outcome.report["bridges"] == []
    reasons = [f["reason"] for f in outcome.report["fragments"]]
    assert len(reasons) == 4
    assert sum("smaller than" in r for r in reasons) == 1


def test_an_artery_is_never_joined_through_a_vein_or_a_tumour() -> None:
    """What a bridge must not paint over stops it where no short way leads around."""
    for obstacle in (names.VEIN, names.TUMOR, names.SPINE):
        cut, _ = _severed()
        cut.voxels[10:50, 10:50, 29:31] = obstacle
        outcome = _join(cut)
        np.testing.assert_array_equal(outcome.value.voxels, cut.voxels)
        assert "blocked" in outcome.report["fragments"][0]["reason"]


def test_a_bridge_goes_around_a_vessel_that_crosses_its_way() -> None:
    """The artery is one again, no voxel of the vein is lost, and the report says so."""
    cut, _ = _severed(gap_mm=16.0)
    vein = _tube(cut, (10, 24, 45), (40, 24, 45), 2.5)
    cut.voxels[vein] = names.VEIN
    outcome = _join(cut)
    assert _pieces(outcome.value, names.ARTERY) == 1
    assert bool((outcome.value.voxels[vein] == names.VEIN).all())
    (bridge,) = outcome.report["bridges"]
    assert bridge["around"]
    assert bridge["path_mm"] > bridge["length_mm"]


def test_what_was_added_can_be_had_as_a_mask_of_its_own() -> None:
    """On request, on the same grid, exactly the voxels that are new, with their labels."""
    cut, _ = _severed()
    assert _join(cut).layers == {}
    outcome = _join(cut, added=True)
    added = outcome.layers["added"]
    assert added.same_grid(cut)
    expected = np.where(outcome.value.voxels != cut.voxels, outcome.value.voxels, 0)
    np.testing.assert_array_equal(added.voxels, expected)
    assert added.present == (names.ARTERY,)


def test_each_fragment_left_alone_has_its_reason() -> None:
    """Too far, another direction, another calibre, too short, and noise are told apart."""
    labels = _empty((100, 60, 100))
    labels.voxels[_tube(labels, (12, 24, 5), (12, 24, 60), 3.0)] = names.ARTERY
    labels.voxels[_tube(labels, (12, 24, 100), (12, 24, 130), 2.8)] = names.ARTERY
    labels.voxels[_tube(labels, (20, 10, 70), (20, 36, 70), 2.0)] = names.ARTERY
    labels.voxels[_tube(labels, (12, 24, 68), (12, 24, 86), 0.9)] = names.ARTERY
    labels.voxels[_tube(labels, (60, 24, 60), (64, 24, 60), 3.0)] = names.ARTERY
    labels.voxels[70, 5, 5] = names.ARTERY
    outcome = _join(labels)
    assert outcome.report["bridges"] == []
    why = {tuple(np.round(f["centre_mm"])): f["why"] for f in outcome.report["fragments"]}
    assert why[(12.0, 24.0, 115.0)] in ("gap", "calibre")
    assert why[(20.0, 23.0, 70.0)] == "direction"
    assert why[(12.0, 24.0, 77.0)] == "calibre"
    assert why[(62.0, 24.0, 60.0)] == "noise"
    assert why[(56.0, 4.0, 8.0)] == "noise"


def test_arteries_and_veins_that_face_each_other_stay_apart() -> None:
    """Two trees of different kinds are never fused, not even when both are to be joined."""
    labels = _empty()
    labels.voxels[_tube(labels, (24, 24, 5), (24, 24, 40), 3.0)] = names.ARTERY
    labels.voxels[_tube(labels, (24, 24, 50), (24, 24, 85), 3.0)] = names.VEIN
    outcome = _join(labels, structures=["artery", "vein"])
    np.testing.assert_array_equal(outcome.value.voxels, labels.voxels)


def test_a_bridge_may_run_through_fat_and_organs() -> None:
    """What surrounds a vessel gives way, as it does when masks are merged."""
    cut, _ = _severed()
    cut.voxels[(cut.voxels == 0)] = names.PERIRENAL_FAT
    assert _pieces(_join(cut).value, names.ARTERY) == 1


def test_only_the_wanted_tree_is_touched() -> None:
    """Arteries by default; veins on request; both if both are asked for."""
    cut, _ = _severed(names.INFERIOR_VENA_CAVA)
    cut.voxels[2:4, 2:4, 2:20] = names.ARTERY
    np.testing.assert_array_equal(_join(cut).value.voxels, cut.voxels)
    for wanted in (["vein"], ["artery", "vein"], ["inferior_vena_cava"]):
        joined = _join(cut, structures=wanted).value
        assert _pieces(joined, names.INFERIOR_VENA_CAVA) == 1, wanted


def test_a_vessel_that_is_not_there_or_is_none_is_refused() -> None:
    """No silent nothing: 422 for what is missing, and for what is no vessel."""
    with pytest.raises(StructureMissing):
        _join(anatomy(), structures=["portal_vein_and_splenic_vein"])
    with pytest.raises(RequestInvalid):
        _join(anatomy(), structures=["liver"])


def _real(folder: Path, name: str, structure: str) -> LabelMap:
    """A real vein, cropped to where it is."""
    path = folder / "masks" / "veins_real_gaps" / f"{name}.nii.gz"
    labels = read_labels(path, {structure: 1})
    return labels.crop((slice(100, 400), slice(160, 400), slice(150, 386)))


@pytest.mark.real_data
def test_the_real_vena_cava_becomes_one_where_its_twin_has_no_gap(real_data: Path) -> None:
    """Every added voxel lies within 2 mm of the gap-free twin."""
    vein = "inferior_vena_cava"
    cut = _real(real_data, "inferior_vena_cava_gap4mm", vein)
    twin = _real(real_data, "inferior_vena_cava_nogap_ref", vein)
    assert _pieces(cut, names.INFERIOR_VENA_CAVA) == 2
    joined = _join(cut, structures=[vein]).value
    assert _pieces(joined, names.INFERIOR_VENA_CAVA) == 1
    added = joined.voxels != cut.voxels
    box = bounding_box(added, margin=8)
    assert box is not None
    apart_mm = edt.edt(np.ascontiguousarray(twin.voxels[box] == 0), anisotropy=twin.spacing_mm)
    assert apart_mm[added[box]].max() <= 2


@pytest.mark.real_data
def test_real_pieces_far_apart_stay_apart(real_data: Path) -> None:
    """The portal vein's pieces, 35 mm from each other, are not bridged blindly."""
    vein = "portal_vein_and_splenic_vein"
    cut = _real(real_data, "portal_splenic_gap35mm", vein)
    outcome = _join(cut, structures=[vein])
    assert all(b["length_mm"] < 25 for b in outcome.report["bridges"])
    assert _pieces(outcome.value, names.numbers()[vein]) > 1
