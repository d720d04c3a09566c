"""The cluster computes what a laptop computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cluster.release import Release
from e2e.service import started
from nephra_cli.commands.demo import DEFAULT_SEED
from nephra_cli.demo.patient import FILES, make_patient
from nephra_contract.nifti import read_labels


def test_the_demo_gives_the_same_label_maps(release: Release, tmp_path: Path) -> None:
    """Its whole case, through the ingress and by `nephra up`: every mask, voxel for voxel."""
    patient = make_patient(DEFAULT_SEED, "small")
    request = {"phases": {p: f"demo/{name}.nii.gz" for p, name in FILES.items()}}
    patient.write(release.data / "demo")
    there = release.post(release.cluster.ingress, "cases", request)
    patient.write(tmp_path / "data" / "demo")
    with started(tmp_path / "data", tmp_path / "state") as service:
        here = service.run("cases", **request)
    assert here["mask_paths"].keys() == there["mask_paths"].keys()
    assert len(here["mask_paths"]) > 5
    for step, path in [*here["mask_paths"].items(), ("the case", here["mask_path"])]:
        other = there["mask_path"] if step == "the case" else there["mask_paths"][step]
        mine, theirs = read_labels(tmp_path / "data" / path), read_labels(release.data / other)
        np.testing.assert_array_equal(mine.voxels, theirs.voxels, err_msg=step)
        np.testing.assert_array_equal(mine.affine, theirs.affine, err_msg=step)
