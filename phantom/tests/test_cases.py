"""Cases to measure on, as files."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from nephra_contract import labels as names
from nephra_contract.nifti import read_labels
from nephra_phantom.cases import CASES, main
from nephra_phantom.surface import Surface


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All cases, few and small."""
    folder = tmp_path_factory.mktemp("cases")
    assert main([str(folder), "--quick"]) == 0
    return folder


def test_a_phantoms_mask_lies_within_its_true_surfaces(drawn: Path) -> None:
    """By volume: of each organ that is wholly in the picture, at either thickness of slices."""
    homes = sorted((drawn / "phantoms").iterdir())
    assert len(homes) == 2
    for home in homes:
        mask = read_labels(home / "mask.nii.gz")
        said = json.loads((home / "case.json").read_text())
        assert mask.spacing_mm == pytest.approx(said["spacing_mm"], abs=1e-5)
        for name in ("kidney_right", "kidney_left", "spleen"):
            with np.load(home / "surfaces" / f"{name}.npz") as found:
                surface = Surface(found["vertices"], found["faces"])
            volume_ml = mask.volumes_ml()[names.numbers()[name]]
            assert surface.volume_mm3 / 1000 == pytest.approx(volume_ml, rel=0.05)


def test_severed_trees_have_their_truth_beside_them(drawn: Path) -> None:
    """Each cut has a number there, and its voxels are gone from the mask."""
    homes = sorted((drawn / "severed").iterdir())
    assert homes
    for home in homes:
        mask = read_labels(home / "mask.nii.gz").voxels
        truth = np.asarray(nibabel.loadsave.load(home / "truth.nii.gz").dataobj)
        cuts = json.loads((home / "case.json").read_text())["cuts"]
        assert cuts
        for number in range(1, len(cuts) + 1):
            assert (truth == number).any()
            assert not mask[truth == number].any()


def test_large_cases_hold_what_they_are_for(drawn: Path) -> None:
    """A tree, kidneys without their fat, and 117 structures."""
    tree, fat, body = (
        read_labels(drawn / "large" / f"{name}.nii.gz") for name in ("tree", "fat", "body")
    )
    assert sum(tree.counts.values()) > 500
    assert {names.KIDNEY_RIGHT, names.KIDNEY_LEFT} <= set(fat.present)
    assert names.PERIRENAL_FAT not in fat.present
    assert body.present == tuple(range(1, 118))


def test_only_what_a_topic_needs_is_drawn(tmp_path: Path) -> None:
    """A benchmark of one topic does not wait for the others' cases."""
    assert main([str(tmp_path), "--quick", "--topic", "fat", "--topic", "sample"]) == 0
    files = [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()]
    assert files == ["large/fat.nii.gz"]
    assert set(CASES) == {"reconnection", "fat", "sample", "smoothing", "joint"}
