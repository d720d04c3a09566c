"""`nephra bench`, as users type it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from typer.testing import CliRunner

from nephra_cli.app import app
from nephra_cli.commands.bench import prolong
from nephra_cli.demo.before_after import main as draw_pictures
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


def test_the_geometry_of_masks_is_measured(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cases are drawn, both services measure, and one report says what met its goal."""
    monkeypatch.delenv("NEPHRA_REAL_DATA", raising=False)
    report, cases = tmp_path / "report.json", tmp_path / "cases"
    asked = ["bench", "geometry", "--quick", "--topic", "fat", "--topic", "joint"]
    done = CliRunner().invoke(app, [*asked, "--cases", str(cases), "--json", str(report)])
    assert done.exit_code == 0
    figures = json.loads(report.read_text())["figures"]
    assert {f["topic"].split(",")[0] for f in figures} == {"fat", "joint"}
    met = [f["met"] for f in figures if f["met"] is not None]
    assert f"{sum(met)} of {len(met)} goals met" in done.output
    assert "closed, manifold, outward" in capfd.readouterr().out
    assert (cases / "large" / "fat.nii.gz").is_file()


def test_a_topic_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    """And nothing is drawn."""
    cases = tmp_path / "cases"
    asked = ["bench", "geometry", "--topic", "fats", "--cases", str(cases)]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 1
    assert "no topic 'fats'" in done.output
    assert not cases.exists()


def test_pictures_of_before_and_after_are_drawn(tmp_path: Path) -> None:
    """The operations run, and what they made is seen: fat is outlined where there was none."""
    assert draw_pictures([str(tmp_path), "--only", "fat"]) == 0
    image = imread(tmp_path / "fat.png")[:, :, :3]
    third = image.shape[1] // 3
    yellow = (image[:, :, 0] > 0.8) & (image[:, :, 1] > 0.7) & (image[:, :, 2] < 0.7)
    before, estimated, seen = (yellow[:, n * third : (n + 1) * third].sum() for n in range(3))
    assert min(estimated, seen) > before + 100
