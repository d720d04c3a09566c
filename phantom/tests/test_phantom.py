"""The phantom as a whole: one patient, whatever the grid, phase and seed."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nephra_contract.volume import LabelMap, Volume
from nephra_phantom import PRESETS, Grid, Phantom, Phase
from nephra_phantom.noise import Noise

NAMED = {1, 2, 3, 5, 21, 52, 63, 201, 202, 203, 204, 206, 207, 208, 209, 210, 211, 212, 213}
QUIET = Noise(0.0, 0.0, (0,))


def centre(truth: LabelMap, label: int) -> NDArray[np.float64]:
    """(3,) mean position of a label in mm."""
    middle: NDArray[np.float64] = truth.to_world(np.argwhere(truth.voxels == label)).mean(axis=0)
    return middle


def mean_hu(image: Volume, truth: LabelMap, labels: tuple[int, ...]) -> float:
    """Mean HU over labels."""
    return float(image.voxels[truth.mask(labels)].mean())


def test_truth_names_every_promised_structure(truth: LabelMap) -> None:
    """All structures of the design are there and nothing else."""
    assert set(truth.present) == NAMED


def test_sides_are_those_of_the_patient(truth: LabelMap) -> None:
    """Right is where x is positive: liver, right kidney and right ureter; the head is up in z."""
    assert centre(truth, 5)[0] > 20
    assert centre(truth, 1)[0] < -60
    assert centre(truth, 2)[0] > 40
    assert centre(truth, 3)[0] < -40
    assert centre(truth, 206)[0] > 0 > centre(truth, 207)[0]
    assert centre(truth, 21)[2] < centre(truth, 2)[2]
    assert centre(truth, 210)[1] < centre(truth, 52)[1]


def test_same_anatomy_whatever_the_stored_axes(phantom: Phantom) -> None:
    """A grid with axes swapped and flipped holds the same world, voxel for voxel."""
    affine = np.diag([5.0, 5.5, 6.0, 1.0])
    affine[:3, 3] = (-170, -165, -140)
    straight = Grid((68, 60, 46), affine)
    turned_affine = affine @ np.array(
        [[0, 0, -1, 67], [1, 0, 0, 0], [0, -1, 0, 45], [0, 0, 0, 1]], dtype=float
    )
    turned = Grid((60, 46, 68), turned_affine)
    expected = phantom.labels(straight).voxels
    found = phantom.labels(turned).voxels
    back = found.transpose(2, 0, 1)[::-1, :, ::-1]
    assert np.mean(back == expected) > 0.9999


def test_same_volumes_on_oblique_grid(phantom: Phantom, truth: LabelMap) -> None:
    """An obliquely laid grid finds the same volumes within two per cent."""
    turn, c, s = np.eye(4), np.cos(0.3), np.sin(0.3)
    turn[:2, :2] = [[c, -s], [s, c]]
    shift = np.diag([2.5, 2.5, 2.5, 1.0])
    shift[:3, 3] = (-212, -212, -150)
    oblique = phantom.labels(Grid((170, 170, 120), turn @ shift))
    for label in (2, 3, 21):
        assert oblique.volumes_ml()[label] == pytest.approx(truth.volumes_ml()[label], rel=0.02)


def test_same_seed_is_same_patient(small: Grid, truth: LabelMap) -> None:
    """A second phantom of the seed is the first again."""
    assert np.array_equal(Phantom(11).labels(small).voxels, truth.voxels)


def test_seeds_vary_anatomy(small: Grid, truth: LabelMap) -> None:
    """Another seed has kidneys, tumour and vessels elsewhere and of another size."""
    other = Phantom(12).labels(small)
    for label in (2, 3, 52, 201):
        assert np.linalg.norm(centre(other, label) - centre(truth, label)) > 1.0
        assert abs(other.volumes_ml()[label] / truth.volumes_ml()[label] - 1) > 0.002


def test_image_and_truth_lie_on_the_asked_grid(
    images: dict[Phase, Volume], truth: LabelMap, small: Grid
) -> None:
    """Shape and affine are the grid's own."""
    assert images["A"].same_grid(truth)
    assert truth.shape == small.shape


@pytest.mark.parametrize("name", ["small", "large"])
def test_presets_cover_the_field_of_view(name: str) -> None:
    """Both presets span 352 x 352 x 300 mm about the middle, in RAS+ order."""
    grid = PRESETS[name]
    assert grid.spacing_mm * grid.shape == pytest.approx([352, 352, 300])
    assert np.all(np.diag(grid.affine)[:3] > 0)
    assert grid.affine[:3, 3] + grid.spacing_mm * (np.array(grid.shape) - 1) / 2 == pytest.approx(
        [0, 0, 0]
    )


def test_large_preset_shows_the_same_patient(phantom: Phantom, truth: LabelMap) -> None:
    """A slab of the large preset agrees with the small one about what is where."""
    grid = PRESETS["large"]
    affine = grid.affine.copy()
    affine[:3, 3] += grid.affine[:3, 2] * 210
    slab = phantom.labels(Grid((512, 512, 10), affine))
    inside = np.argwhere(slab.voxels == 3)[::50]
    index = np.linalg.solve(truth.affine, np.c_[slab.to_world(inside), np.ones(len(inside))].T)
    i, j, k = np.rint(index[:3]).astype(int)
    assert np.mean(truth.voxels[i, j, k] == 3) > 0.9


def test_arteries_shine_in_the_arterial_phase(images: dict[Phase, Volume], truth: LabelMap) -> None:
    """Aorta and renal arteries are brightest in A; veins fill in P."""
    assert mean_hu(images["A"], truth, (52,)) > 240
    assert mean_hu(images["A"], truth, (52,)) > mean_hu(images["P"], truth, (52,)) + 50
    assert 110 < mean_hu(images["P"], truth, (63,)) < 220
    assert mean_hu(images["P"], truth, (63,)) > mean_hu(images["A"], truth, (63,)) + 30


def test_cortex_differs_from_medulla_in_arterial_phase_alone(phantom: Phantom) -> None:
    """The kidney is of two kinds in A and nearly even in P."""
    fills = {one.name: one.hu for one in phantom.anatomy.structures}
    middle = np.zeros((1, 1, 1), np.float32)
    gap = {
        phase: float(
            fills["kidney_right"][phase](middle, middle, middle).item()
            - fills["medulla_right"][phase](middle, middle, middle).item()
        )
        for phase in ("A", "P")
    }
    assert gap["A"] > 50
    assert abs(gap["P"]) < 50


def test_urine_is_bright_in_the_delayed_phase(phantom: Phantom, small: Grid) -> None:
    """Pelvis and most of the ureters are opacified in D and dark in A."""
    late, early = phantom.labels(small, "D"), phantom.labels(small, "A")
    assert mean_hu(phantom.volume("D", small, QUIET), late, (208,)) > 200
    assert mean_hu(phantom.volume("A", small, QUIET), early, (208,)) < 60


def test_air_is_around_the_patient(images: dict[Phase, Volume]) -> None:
    """The corners of each slice are air at -1024 give or take the noise."""
    corner = images["P"].voxels[:8, -8:, :]
    assert np.median(corner) < -1000
    assert corner.min() == -1024


def test_borders_mix_their_neighbours(phantom: Phantom) -> None:
    """Along a line through the spine, soft edges climb in smaller steps than hard ones."""
    grid = Grid((1, 141, 1), np.diag([1.0, 2.0, 1.0, 1.0]))
    spine = next(one for one in phantom.anatomy.structures if one.name == "spine")
    low, high = spine.bounds()
    affine = grid.affine.copy()
    affine[:3, 3] = (0.3, -140, 0.5 * (low[2] + high[2]))
    grid = Grid(grid.shape, affine)
    sharp = phantom.volume("P", grid, QUIET, blur_mm=0.01).voxels.ravel()
    soft = phantom.volume("P", grid, QUIET, blur_mm=4.0).voxels.ravel()
    assert np.abs(np.diff(soft)).max() < np.abs(np.diff(sharp)).max()


def test_phases_differ_by_small_motion(phantom: Phantom, small: Grid, truth: LabelMap) -> None:
    """Organs move between phases, by millimetres only."""
    moved = phantom.labels(small, "D")
    for label in (2, 3, 5):
        shift = float(np.linalg.norm(centre(moved, label) - centre(truth, label)))
        assert 0.05 < shift < 6.0


def test_noise_is_as_strong_as_drawn(phantom: Phantom, small: Grid) -> None:
    """Asked for 20 HU of noise, an even organ shows 20 HU."""
    affine = small.affine.copy()
    affine[:3, 3] = (20, -10, 80)
    box = Grid((30, 30, 20), affine)
    quiet = phantom.volume("P", box, QUIET).voxels
    for share in (0.0, 0.6):
        noisy = phantom.volume("P", box, Noise(20.0, share, (1,))).voxels.astype(float)
        assert np.std(noisy - quiet) == pytest.approx(20, rel=0.1)
