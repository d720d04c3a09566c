"""Promises of thin structures: found in masks, drawn, led around."""

from __future__ import annotations

import cc3d
import numpy as np
from numpy.typing import NDArray

from nephra_contract import labels as names
from nephra_contract.testing import anatomy
from nephra_contract.volume import LabelMap
from nephra_postprocess.atlas.bypasses import lead_around
from nephra_postprocess.atlas.lines import Lines, draw, joined
from nephra_postprocess.atlas.skeletons import erased, find_lines

_AFFINE = np.diag([1.5, 1.5, 1.5, 1.0])


def _empty() -> LabelMap:
    return LabelMap(np.zeros((60, 40, 40), np.uint8), _AFFINE)


def _tube(label: int, start: float = 6.0, stop: float = 84.0, radius_mm: float = 3.0) -> Lines:
    """A straight tube along x through the middle."""
    x = np.arange(start, stop + 0.1, 3.0)
    nodes = np.stack([x, np.full(x.size, 30.0), np.full(x.size, 30.0)], axis=1)
    edges = np.stack([np.arange(x.size - 1), np.arange(1, x.size)], axis=1)
    return Lines(
        nodes, edges, np.full(edges.shape, radius_mm), np.full(len(edges), label, np.uint8)
    )


def _drawn(lines: Lines, patient: LabelMap) -> NDArray[np.uint8]:
    onto: NDArray[np.uint8] = patient.voxels.copy()
    draw(lines, onto, patient)
    return onto


def test_a_drawn_tube_has_its_volume() -> None:
    """Radius and length in mm, with round ends."""
    voxels = _drawn(_tube(names.URETER_LEFT), _empty())
    volume = float((voxels > 0).sum()) * 1.5**3
    assert abs(volume / (np.pi * 9 * 78 + 4 / 3 * np.pi * 27) - 1) < 0.05


def test_a_tube_thinner_than_a_voxel_is_not_interrupted() -> None:
    """Its axis is always drawn."""
    voxels = _drawn(_tube(names.URETER_LEFT, radius_mm=0.2), _empty())
    assert cc3d.connected_components(voxels > 0, connectivity=26).max() == 1
    assert np.any(voxels > 0, axis=(1, 2))[4:56].all()


def test_lines_found_in_a_mask_draw_it_again() -> None:
    """Where a tube was, with its width; one piece stays one."""
    patient = _empty()
    before = patient.like(_drawn(_tube(names.ARTERY, radius_mm=4.0), patient))
    lines = find_lines(before, [names.ARTERY])
    again = _drawn(lines, patient)
    both = ((again > 0) & (before.voxels > 0)).sum()
    assert 2 * both / ((again > 0).sum() + (before.voxels > 0).sum()) > 0.85
    assert cc3d.connected_components(again, connectivity=26).max() == 1


def test_a_line_goes_on_into_the_trunk_that_it_ends_at() -> None:
    """Wherever the trunk lies in the patient, its branches hang on it."""
    patient = _empty()
    before = patient.like(_drawn(_tube(names.ARTERY, start=24.0), patient))
    before.voxels[8:15, 12:28, 4:36] = names.AORTA
    lines = find_lines(before, [names.ARTERY])
    assert lines.nodes_mm[:, 0].min() < 1.5 * 14 - 2
    assert cc3d.connected_components(_drawn(lines, patient), connectivity=26).max() == 1


def test_erased_structures_become_what_is_around_them() -> None:
    """No voxel of theirs is left, no other is touched."""
    whole = anatomy()
    gone = (names.URETER_RIGHT, names.ARTERY)
    result = erased(whole, gone)
    assert not set(gone) & set(result.present)
    kept = ~whole.mask(gone)
    np.testing.assert_array_equal(result.voxels[kept], whole.voxels[kept])


def test_an_end_within_an_organ_is_cut_at_its_surface() -> None:
    """And what comes out again for a few millimetres only is let go."""
    patient = _empty()
    patient.voxels[40:50] = names.KIDNEY_LEFT
    lines = lead_around(_tube(names.ARTERY), patient)
    assert lines.nodes_mm[lines.edges].reshape(-1, 3)[:, 0].max() <= 60.0


def test_a_line_through_a_lump_is_led_around_it() -> None:
    """It stays one piece, and the lump as it was."""
    patient = _empty()
    patient.voxels[26:38, 13:27, 13:27] = names.TUMOR
    voxels = _drawn(lead_around(_tube(names.URETER_RIGHT), patient), patient)
    assert np.count_nonzero(voxels == names.TUMOR) == 12 * 14 * 14
    ureter = voxels == names.URETER_RIGHT
    assert cc3d.connected_components(ureter, connectivity=26).max() == 1
    assert ureter[8].any()
    assert ureter[50].any()


def test_a_wide_tube_is_not_cut_through_by_being_drawn_late() -> None:
    """A thin artery across the renal pelvis leaves both whole, in whatever order they come."""
    wide = _tube(names.RENAL_PELVIS, radius_mm=6.0)
    y = np.arange(6.0, 54.0, 3.0)
    nodes = np.stack([np.full(y.size, 45.0), y, np.full(y.size, 30.0)], axis=1)
    edges = np.stack([np.arange(y.size - 1), np.arange(1, y.size)], axis=1)
    thin = Lines(
        nodes, edges, np.full(edges.shape, 2.0), np.full(len(edges), names.ARTERY, np.uint8)
    )
    patient = _empty()
    together = _drawn(joined([thin, wide]), patient)
    for label in (names.RENAL_PELVIS, names.ARTERY):
        assert cc3d.connected_components(together == label, connectivity=26).max() == 1
