"""Adding an operation is two new files and one edited line: the how-to, done."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nephra_contract.nifti import read_labels, write_labels
from nephra_contract.testing import anatomy

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "add-an-operation.md"


def _blocks() -> list[tuple[str, str, str]]:
    """(path, language, content) of each file that the page shows."""
    pattern = r"^`([^`\n]+)`\n\n```(\w+)\n(.*?)^```$"
    return re.findall(pattern, PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the postprocess server in which the how-to was followed."""
    copy = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "servers" / "postprocess", copy / "servers" / "postprocess")
    shutil.copytree(ROOT / "contract", copy / "contract")
    new, edited = 0, 0
    for name, language, content in _blocks():
        path = copy / name
        if language == "diff":
            old, fresh = (line[1:] for line in content.splitlines())
            text = path.read_text()
            assert text.count(old) == 1
            path.write_text(text.replace(old, fresh))
            edited += 1
        else:
            assert not path.exists()
            path.write_text(content)
            new += 1
    assert (new, edited) == (2, 1)
    return copy


def _run(checkout: Path, *command: str) -> subprocess.CompletedProcess[str]:
    path = str(checkout / "servers" / "postprocess" / "src")
    return subprocess.run(
        [sys.executable, *command],
        cwd=checkout,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_runs_without_a_server(checkout: Path, tmp_path: Path) -> None:
    """`python -m nephra_postprocess run` knows it, with its parameters."""
    write_labels(tmp_path / "mask.nii.gz", anatomy())
    done = _run(
        checkout, "-m", "nephra_postprocess", "run", "remove_small",
        "mask_path=mask.nii.gz", "min_volume_mm3=50000", "--data", str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["operation"] == "postprocess/remove_small"
    assert answer["report"]["removed"] >= 1
    assert read_labels(tmp_path / answer["mask_path"]).present


def test_it_is_described_to_the_gateway(checkout: Path) -> None:
    """Endpoint, schema and documentation follow from the operation's line."""
    script = (
        "import json; from nephra_postprocess.operations import OPERATIONS;"
        "print(json.dumps([o.describe('postprocess').model_dump() for o in OPERATIONS]))"
    )
    done = _run(checkout, "-c", script)
    assert done.returncode == 0, done.stderr
    described = {o["name"]: o for o in json.loads(done.stdout)}["postprocess/remove_small"]
    schema = described["request_schema"]["properties"]["min_volume_mm3"]
    assert schema["default"] == 100
    assert described["summary"] == "Remove islands of a label that are too small to be anatomy."


def test_its_test_file_passes(checkout: Path) -> None:
    """The conformance suite and its own test."""
    test = "servers/postprocess/tests/test_remove_small.py"
    done = _run(checkout, "-m", "pytest", "-q", "--import-mode=importlib", "-p", "no:cacheprovider",
                "--rootdir", str(checkout), test)  # fmt: skip
    assert done.returncode == 0, done.stdout
    assert re.search(r"\b10 passed", done.stdout), done.stdout
