from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nephra_contract.errors import BundleInvalid, Unavailable
from nephra_nnunet.bench.agreement import agree
from nephra_nnunet.bench.command import main
from nephra_nnunet.bench.interpreters import lend, stock_python
from nephra_nnunet.bench.libraries import own_versions, versions_of
from nephra_nnunet.bench.models import open_model
from nephra_nnunet.bench.random_bundles import Size, make_bundle
from nephra_nnunet.bench.runs import Runs
from nephra_nnunet.bench.stages import Stages
from nephra_nnunet.bench.table import write_table
from nephra_nnunet.bench.trial import Trial, run
from nephra_nnunet.bundle import load_bundle
from nephra_serving.cost import cpu_seconds, describe_machine

MakeBundle = Callable[..., Path]


@pytest.fixture
def trained(make_bundle: MakeBundle) -> Path:
    """A folder as nnUNetv2_train leaves it."""
    folder = make_bundle("tumor")
    (folder / "bundle.yaml").unlink()
    return folder


def test_stages_are_added_up_by_name() -> None:
    """Turns of one stage are one row; what runs within a stage counts to it alone."""
    stages = Stages()
    for _ in range(2):
        with stages.stage("network"), stages.stage("inner"):
            before = cpu_seconds()
            while cpu_seconds() - before < 0.01:
                pass
    assert list(stages.found) == ["network"]
    assert stages.found["network"].cpu_s >= 0.02
    assert stages.found["network"].wall_s > 0


def test_a_stage_knows_the_peak_within_it_and_the_process_its_own() -> None:
    """Memory that is given back before a stage is not that stage's, but still the process's."""
    stages = Stages()
    with stages.stage("large"):
        np.ones(2**25, dtype=np.float64)
    with stages.stage("small"):
        pass
    large, small = (stages.found[n].peak_mib for n in ("large", "small"))
    if large is None or small is None:
        pytest.skip("this system does not forget peaks")
    assert large - small > 200
    assert stages.named()["peak_mib"] == pytest.approx(large, abs=50)


def test_a_report_is_there_before_the_run_has_ended(tmp_path: Path) -> None:
    """What began last can be read while it runs, for the case that it is killed."""
    stages = Stages(tmp_path / "report.json")
    with stages.stage("load"):
        pass
    with stages.stage("network"):
        said = json.loads((tmp_path / "report.json").read_text())
    assert said["running"] == "network"
    assert [s["name"] for s in said["stages"]] == ["load"]


def test_agreement_counts_voxels_and_dice() -> None:
    """Against numbers worked out by hand."""
    first = np.array([[[0, 1, 1, 1]], [[2, 2, 0, 0]]], dtype=np.uint8)
    second = np.array([[[0, 1, 1, 2]], [[2, 2, 0, 7]]], dtype=np.uint8)
    found = agree(first, second)
    assert (found.voxels, found.differ, found.fraction) == (8, 2, 0.25)
    assert found.dice == {1: 0.8, 2: 0.8, 7: 0.0}
    assert found.mean_dice == pytest.approx(1.6 / 3)
    assert found.lowest_dice == (7, 0.0)
    same = agree(np.zeros((2, 2, 2), np.uint8), np.zeros((2, 2, 2), np.uint8))
    assert (same.mean_dice, same.lowest_dice) == (1.0, None)
    with pytest.raises(ValueError, match="shapes"):
        agree(first, second[:1])


def test_a_run_reports_what_it_cost(tmp_path: Path) -> None:
    """CPU seconds and memory are the child's own, not those of who started it."""
    code = "import sys, time; b = bytearray(10**8)\nwhile time.process_time() < 0.3: pass"
    trial = run([sys.executable, "-c", code], tmp_path / "report.json", {})
    assert trial.outcome == "done"
    assert 0.3 <= trial.cpu_s < 5
    assert trial.peak_mib > 90


def test_a_run_that_the_kernel_kills_is_no_crash(tmp_path: Path) -> None:
    """What it had done until then is reported, and what it was about."""
    report = tmp_path / "report.json"
    code = (
        "import os, signal; from pathlib import Path\n"
        "from nephra_nnunet.bench.stages import Stages\n"
        f"stages = Stages(Path({str(report)!r}))\n"
        "with stages.stage('load'): pass\n"
        "with stages.stage('labels'): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    trial = run([sys.executable, "-c", code], report, lend(tmp_path / "lent"))
    assert (trial.outcome, trial.running) == ("killed", "labels")
    assert [s["name"] for s in trial.stages] == ["load"]
    assert trial.peak_mib > 1


def test_a_run_that_fails_says_its_last_lines(tmp_path: Path) -> None:
    """Its error is not lost."""
    code = "raise SystemExit('no such thing')"
    with pytest.raises(Unavailable, match="no such thing"):
        run([sys.executable, "-c", code], tmp_path / "report.json", {})


def test_the_machine_and_its_packages_are_named() -> None:
    """Numbers without the machine that they come from say nothing."""
    machine = describe_machine()
    assert machine["cores"] >= 1
    assert machine["memory_gib"] > 0
    assert own_versions()["numpy"] == np.__version__
    assert versions_of(Path(sys.executable))["numpy"] == np.__version__
    assert versions_of(Path("/no/such/python")) == {}


def test_a_python_without_nnunet_is_refused() -> None:
    """The sentence says how to get one."""
    with pytest.raises(Unavailable) as caught:
        stock_python(Path("/no/such/python"))
    assert "make stock" in caught.value.action


def test_a_random_bundle_is_one_that_loads(tmp_path: Path) -> None:
    """Its network has the outputs, the stages and the patch that were asked for."""
    size = Size(3.0, (16, 16, 16), 3, 7)
    bundle = load_bundle(make_bundle(tmp_path / "tiny", size))
    assert (bundle.architecture.heads, bundle.architecture.stages) == (7, 3)
    assert bundle.plans.patch == (16, 16, 16)


def test_a_trained_folder_is_taken_as_it_is(trained: Path, tmp_path: Path) -> None:
    """It needs no bundle.yaml, and nothing is written to it."""
    before = sorted(trained.rglob("*"))
    model = open_model(trained, None, tmp_path / "work")
    assert model.named()["outputs"] == 3
    assert sorted(trained.rglob("*")) == before


def test_a_folder_without_checkpoint_is_refused(trained: Path, tmp_path: Path) -> None:
    """The sentence says what is missing."""
    shutil.rmtree(trained / "fold_0")
    with pytest.raises(BundleInvalid, match="checkpoint_final"):
        open_model(trained, None, tmp_path / "work")


def test_nephra_alone_is_measured_stage_by_stage(
    trained: Path, data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report holds stages, machine and model; the table shows them."""
    target = tmp_path / "report.json"
    image = str(data_folder / "A.nii.gz")
    given = ["--bundle", str(trained), "--image", image, "--only", "nephra"]
    assert main([*given, "--threads", "1", "--json", str(target)]) == 0
    report = json.loads(target.read_text())
    run = report["runs"]["nephra"]
    assert run["trials"][0]["estimate_mib"] > 0
    names = [s["name"] for s in run["trials"][0]["stages"]]
    assert names == ["import", "load", "read", "prepare", "network", "labels"]
    spent = sum(s["cpu_s"] for s in run["trials"][0]["stages"])
    assert 0 < spent <= run["trials"][0]["cpu_s"] + 0.1
    assert run["cpu_s"]["lowest"] <= run["cpu_s"]["median"] <= run["cpu_s"]["highest"]
    assert report["images"] == [{"shape": [30, 34, 26], "spacing_mm": [2.0, 2.0, 3.0]}]
    said = capsys.readouterr().out
    assert said == write_table(report)
    assert all(name in said for name in [*names, "whole", "30x34x26"])


def test_repeated_runs_have_a_median_and_bounds() -> None:
    """Of each figure by itself."""
    trials = [Trial("done", wall, cpu, peak) for wall, cpu, peak in
              ((4.0, 3.0, 900.0), (2.0, 5.0, 700.0), (3.0, 4.0, 800.0))]  # fmt: skip
    runs = Runs(trials)
    assert runs.spread("wall_s") == (3.0, 2.0, 4.0)
    assert runs.spread("cpu_s") == (4.0, 3.0, 5.0)
    assert not runs.killed
    assert runs.named()["peak_mib"] == {"median": 800.0, "lowest": 700.0, "highest": 900.0}


def test_memory_is_measured_over_two_lengths(
    trained: Path, data_folder: Path, tmp_path: Path, tiny: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The ratio is that of the two peaks."""
    tiny.save(tmp_path / "long.nii.gz", tiny.ct((30, 34, 52)))
    target = tmp_path / "report.json"
    images = ["--image", str(data_folder / "A.nii.gz"), "--longer", str(tmp_path / "long.nii.gz")]
    assert main(["--bundle", str(trained), *images, "--json", str(target)]) == 0
    report = json.loads(target.read_text())
    short, long = (r["peak_mib"]["median"] for r in report["growth"])
    assert report["ratio"] == pytest.approx(long / short)
    assert "ratio of the peaks" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--image", "{A}", "--image", "{A}", "--only", "nephra"], "channels"),
        (["--image", "{A}x", "--only", "nephra"], "no image"),
        (["--image", "{A}", "--repeat", "0"], "--repeat"),
        (["--image", "{A}", "--stock-python", "/no/such"], "stock-python"),
    ],
)
def test_what_cannot_be_run_is_a_sentence(
    wrong: list[str],
    said: str,
    trained: Path,
    data_folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit status 2, and the problem as JSON."""
    given = [word.format(A=data_folder / "A.nii.gz") for word in wrong]
    assert main(["--bundle", str(trained), *given]) == 2
    problem = json.loads(capsys.readouterr().err)
    assert said in problem["detail"]
    assert problem["status"] in (422, 503)
