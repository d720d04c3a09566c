from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nephra_nnunet.bundle import load_bundle
from nephra_nnunet.bundle_command import main

MakeBundle = Callable[..., Path]


@pytest.fixture
def training(make_bundle: MakeBundle) -> Path:
    """A folder as training leaves it, with two folds."""
    folder = make_bundle("vessel", "training", folds=2)
    (folder / "bundle.yaml").unlink()
    return folder


def test_a_training_becomes_a_bundle(
    training: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels by name, folds and channels found, run once, and then listed and checked."""
    target = tmp_path / "served"
    arguments = ["add", "v1", "--task", "vessel", "--from", str(training), "--labels"]
    arguments += ["artery=203", "vein=0", "--bundles", str(target), "--default"]
    assert main(arguments, target) == 0
    bundle = load_bundle(target / "v1")
    assert bundle.manifest.folds == [0, 1]
    assert bundle.manifest.phases == [["A"], ["P"]]
    assert bundle.describe().labels == {"kidney": 200, "artery": 203}
    capsys.readouterr()
    assert main(["check"], target) == 0
    assert json.loads(capsys.readouterr().out)["v1"]["ready"] is True
    assert main(["list"], target) == 0
    assert json.loads(capsys.readouterr().out)["v1"]["task"] == "vessel"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"--task": "ureter"}, "2 channels, not 1"),
        ({"--checkpoint": "checkpoint_best.pth"}, "no fold_"),
        ({"--folds": "4"}, "no fold_4"),
        ({"--channels": "A"}, "2 channels, not 1"),
        ({"--labels": "artery:203"}, "CLASS=NUMBER"),
        ({"--orientation": "XXX"}, "orientation"),
        ({"--folds": "../0"}, "'../0' is no fold"),
        ({"--labels": "lung=10"}, "does not have: lung"),
    ],
)
def test_what_cannot_be_served_is_not_added(
    changes: dict[str, str],
    said: str,
    training: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Refused with a sentence, and nothing is left in the folder of bundles."""
    target = tmp_path / "served"
    options = {"--task": "vessel", "--from": str(training), **changes}
    arguments = [part for pair in options.items() for part in pair]
    assert main(["add", "v1", *arguments], target) == 2
    assert said in json.loads(capsys.readouterr().err)["detail"]
    assert list(target.glob("*")) == []


def test_classes_without_a_name_of_ours_need_a_number(
    make_bundle: MakeBundle, tiny: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error lists them."""
    source = make_bundle(
        "tumor", "odd", dataset=tiny.dataset({"mass": 0, "kidney": 0}),
        labels={"mass": 201, "kidney": 200},
    )  # fmt: skip
    arguments = ["add", "t", "--task", "tumor", "--from", str(source)]
    assert main(arguments, tmp_path / "served") == 2
    assert "mass" in json.loads(capsys.readouterr().err)["detail"]
    assert main([*arguments, "--labels", "mass=201"], tmp_path / "served") == 0


def test_labels_may_be_separated_by_commas(training: Path, tmp_path: Path) -> None:
    """As well as by spaces."""
    arguments = ["add", "v1", "--task", "vessel", "--from", str(training)]
    target = tmp_path / "served"
    assert main([*arguments, "--labels", "kidney=200,artery=52,vein=0"], target) == 0
    assert load_bundle(target / "v1").describe().labels == {"kidney": 200, "artery": 52}


def test_the_fold_of_all_cases_is_taken_where_it_is_the_only_one(
    training: Path, tmp_path: Path
) -> None:
    """As nnU-Net does; numbered folds are averaged without it."""
    shutil.copytree(training / "fold_0", training / "fold_all")
    arguments = ["--task", "vessel", "--from", str(training)]
    target = tmp_path / "served"
    assert main(["add", "numbered", *arguments], target) == 0
    assert load_bundle(target / "numbered").manifest.folds == [0, 1]
    shutil.rmtree(training / "fold_0")
    shutil.rmtree(training / "fold_1")
    assert main(["add", "whole", *arguments], target) == 0
    assert load_bundle(target / "whole").manifest.folds == ["all"]


@pytest.mark.parametrize("name", ["../out", "Upper", "", ".hidden"])
def test_a_name_is_a_folder_of_its_own(
    name: str, training: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written outside of the folder of bundles."""
    arguments = ["--task", "vessel", "--from", str(training)]
    assert main(["add", name, *arguments], tmp_path / "served") == 2
    assert "no name for a bundle" in json.loads(capsys.readouterr().err)["detail"]
    assert not (tmp_path / "served").exists()


def test_check_says_of_every_bundle_whether_it_works(
    make_bundle: MakeBundle, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that does not work is a failure, and hides none of the others."""
    folder = make_bundle("tumor").parent
    broken = make_bundle("ureter")
    (broken / "plans.json").write_text("{}")
    assert main(["check"], folder) == 2
    found = json.loads(capsys.readouterr().out)
    assert {name: said["ready"] for name, said in found.items()} == {"tumor": True, "ureter": False}
    assert "plans.json" in found["ureter"]["refused"]


def test_a_half_written_bundle_is_not_listed(
    make_bundle: MakeBundle, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `add` is still writing begins with a dot."""
    folder = make_bundle("tumor").parent
    shutil.copytree(folder / "tumor", folder / ".next.0a1b2c3d")
    assert main(["list"], folder) == 0
    assert list(json.loads(capsys.readouterr().out)) == ["tumor"]


def test_a_name_is_taken_once(training: Path, tmp_path: Path) -> None:
    """What is served is not overwritten."""
    arguments = ["add", "v1", "--task", "vessel", "--from", str(training)]
    assert main(arguments, tmp_path / "served") == 0
    assert main(arguments, tmp_path / "served") == 2


def test_a_broken_bundle_is_listed_with_its_reason(
    make_bundle: MakeBundle, capsys: pytest.CaptureFixture[str]
) -> None:
    """The list does not hide it."""
    folder = make_bundle("tumor")
    (folder / "dataset.json").write_text("{}")
    assert main(["list"], folder.parent) == 0
    assert "sha256" in json.loads(capsys.readouterr().out)["tumor"]["refused"]


def test_one_operation_runs_without_a_server(
    make_bundle: MakeBundle, data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`python -m nephra_nnunet run tumor image_path=…` prints the answer and nothing else."""
    monkeypatch.setenv("NEPHRA_BUNDLES", str(make_bundle("tumor").parent))
    command = [sys.executable, "-m", "nephra_nnunet", "run", "tumor", "image_path=A.nii.gz"]
    done = subprocess.run(
        [*command, "--data", str(data_folder)], capture_output=True, check=True, text=True
    )
    answer = json.loads(done.stdout)
    assert (data_folder / answer["mask_path"]).is_file()
