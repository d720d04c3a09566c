from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from nephra_contract.paths import DataRoot
from nephra_serving.main import main


def test_run_prints_the_answer(
    toy: ModuleType, data: DataRoot, capsys: pytest.CaptureFixture[str]
) -> None:
    """One operation without a server: JSON on stdout, nothing else."""
    arguments = ["run", "keep", "mask_path=mask.nii.gz", "number=2", "--data", str(data.root)]
    assert main("toy", toy.build, arguments) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["report"] == {"kept": 60}
    assert data.file(answer["mask_path"]).is_file()


def test_values_are_json_where_they_parse(
    toy: ModuleType, data: DataRoot, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lists and objects can be written; the operation's full name is understood."""
    arguments = ["run", "toy/keep", 'mask_path=["mask.nii.gz"]', 'labels={"kidney": 2, "tumor": 3}']
    arguments += ["number=201", "--data", str(data.root)]
    assert main("toy", toy.build, arguments) == 0
    assert json.loads(capsys.readouterr().out)["report"] == {"kept": 40}


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (["keep", "mask_path=gone.nii.gz"], 2, "file_not_found"),
        (["keep", "mask_path=mask.nii.gz", "number=many"], 2, "request_invalid"),
        (["keep", "mask.nii.gz"], 2, "request_invalid"),
        (["nothing"], 2, "operation_unknown"),
        (["broken", "mask_path=mask.nii.gz"], 1, "internal_error"),
    ],
)
def test_a_refusal_is_a_problem_on_stderr(
    toy: ModuleType,
    data: DataRoot,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    code: str,
) -> None:
    """2 where the request can be mended, 1 where nephra failed; nothing on stdout."""
    assert main("toy", toy.build, ["run", *arguments, "--data", str(data.root)]) == status
    said = capsys.readouterr()
    assert said.out == ""
    assert json.loads(said.err.splitlines()[-1])["code"] == code


def test_a_data_root_that_is_not_there_is_refused(
    toy: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistyped --data is a sentence."""
    assert main("toy", toy.build, ["run", "keep", "--data", str(tmp_path / "no")]) == 2
    assert "data root" in json.loads(capsys.readouterr().err)["detail"]


def test_interrupting_run_cancels_it(script: Path, data: DataRoot) -> None:
    """Ctrl-C ends with 130, a problem, and nothing left behind."""
    with subprocess.Popen(
        [sys.executable, script, "run", "endless", "mask_path=mask.nii.gz", "--data", data.root],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        assert json.loads(process.stderr.read().splitlines()[-1])["code"] == "cancelled"
        assert process.stdout.read() == ""
    assert process.returncode == 130
    assert not (data.root / "results").exists() or not list((data.root / "results").iterdir())


def test_run_does_not_import_kserve(script: Path, data: DataRoot) -> None:
    """KServe takes seconds to import, and `run` needs none of it."""
    code = (
        "import runpy, sys; sys.argv = ['x', 'run', 'keep', 'mask_path=mask.nii.gz', '--data', "
        f"{str(data.root)!r}]\n"
        f"try: runpy.run_path({str(script)!r}, run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert 'kserve' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
