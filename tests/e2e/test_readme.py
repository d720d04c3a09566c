"""What README promises on its one screen of API is run as it stands there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
CALL = re.search(r"^call\(\) \{.*\}$", README, flags=re.MULTILINE)
LINES = re.findall(r"^call (\S+) +('.*')$", README, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def patient(service: Any) -> None:
    """The files that the block above puts into the data root."""
    folder = service.data / "p1"
    folder.mkdir(exist_ok=True)
    for phase, name in (("A", "arterial"), ("P", "portal"), ("D", "delayed")):
        shutil.copyfile(service.data / f"phantom/{phase}.nii.gz", folder / f"{name}.nii.gz")


def test_all_nine_operations_and_cases_are_documented() -> None:
    """Each by a line that can be pasted."""
    expected = {
        *(f"inference/{t}" for t in ("totalseg", "vessel", "ureter", "tumor")),
        *(f"postprocess/{o}" for o in ("fat", "sample", "vessel", "ureter")),
        "smoothing/base",
        "cases",
    }
    assert {operation for operation, _ in LINES} == expected


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize(("operation", "request_"), LINES)
def test_the_line_answers(service: Any, operation: str, request_: str) -> None:
    """By curl, in the order in which they stand."""
    assert CALL is not None
    done = subprocess.run(
        ["bash", "-c", f"{CALL.group()}\ncall {operation} {request_}"],
        env={**os.environ, "NEPHRA_URL": service.url, "NEPHRA_TOKEN": service.token},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    answer = json.loads(done.stdout)
    paths = [v for k, v in answer.items() if k.endswith("_path") and v]
    assert paths
    for path in paths:
        assert (service.data / path).is_file(), path


def test_links_and_targets_exist() -> None:
    """Every file that README links to, and every make target that it names."""
    root = Path(__file__).resolve().parents[2]
    for target in re.findall(r"\]\(((?!http)[^)#]+)\)", README):
        assert (root / target).exists(), target
    makefile = (root / "Makefile").read_text()
    for target in re.findall(r"make ([a-z-]+)", README):
        if target != "and":
            assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target
