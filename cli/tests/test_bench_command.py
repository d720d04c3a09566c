"""`nephra bench`, as users type it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from nephra_cli.app import app
from nephra_cli.commands.bench import prolong
from nephra_contract.nifti import read_image, write_image
from nephra_contract.volume import Volume
from nephra_nnunet.bench.random_bundles import Size, make_bundle


def test_a_phantom_is_drawn_and_measured(tmp_path: Path) -> None:
    """Without an image of one's own; the predictor's options are passed on."""
    bundle = make_bundle(tmp_path / "tiny", Size(8.0, (16, 16, 16), 3, 5))
    report = tmp_path / "report.json"
    phantom = ["--shape", "40x36x30", "--spacing", "8x8x10"]
    passed_on = ["--bundle", str(bundle), "--only", "nephra", "--json", str(report)]
    done = CliRunner().invoke(app, ["bench", "nnunet", *phantom, *passed_on])
    assert done.exit_code == 0
    said = json.loads(report.read_text())
    assert said["images"] == [{"shape": [40, 36, 30], "spacing_mm": [8.0, 8.0, 10.0]}]
    assert said["model"]["outputs"] == 5
    assert list(said["runs"]) == ["nephra"]


@pytest.mark.parametrize("shape", ["40x36", "40x36xmany", "40x36x0"])
def test_a_shape_that_is_none_is_a_sentence(shape: str) -> None:
    """Before anything is drawn."""
    done = CliRunner().invoke(app, ["bench", "nnunet", "--shape", shape])
    assert done.exit_code == 1
    assert "not three positive" in done.output


def test_a_longer_image_is_the_shorter_one_to_and_fro(tmp_path: Path) -> None:
    """Each slice has the neighbours that it has in the shorter image, or itself."""
    voxels = np.zeros((2, 2, 3), dtype=np.int16)
    voxels[:] = [10, 20, 30]
    write_image(tmp_path / "short.nii.gz", Volume(voxels, np.diag([1.0, 1.0, 2.0, 1.0])))
    prolong(tmp_path / "short.nii.gz", tmp_path / "long.nii.gz", 8)
    long = read_image(tmp_path / "long.nii.gz")
    assert long.voxels[0, 0].tolist() == [10, 20, 30, 30, 20, 10, 10, 20]
    assert long.spacing_mm == (1.0, 1.0, 2.0)
