"""The OpenAPI document is true: whatever it allows, or does not, is answered as it says."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from nephra_contract.paths import DataRoot
from nephra_gateway.settings import GatewaySettings
from nephra_serving.settings import ServingSettings
from nephra_serving.testing import served

#: Enough of the operations: all of them are served by the same code.
_UNUSED = r"^/(inference|postprocess|smoothing)(/(?!tumor|merge).*)?$"

#: No document can say which files are there, or which hosts may be called back; and DELETE of a
#: ticket cancels it, to be looked at all the same.
_UNSAYABLE = "positive_data_acceptance,use_after_free"


@pytest.fixture(scope="module")
def url(
    start: Any, toys: ModuleType, data: DataRoot, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A gateway with a data root of its own, since callers may remove files; the token is `t`."""
    root = tmp_path_factory.mktemp("fuzzed")
    for phase in "APD":
        shutil.copy(data.root / f"{phase}.nii.gz", root)
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(f"{hashlib.sha256(b't').hexdigest()} me run")
    own, settings = DataRoot(root), ServingSettings(data=root, heartbeat_s=0.2)
    runners = {
        "nnunet": toys.Nnunet(own),
        "postprocess": toys.postprocess(own),
        "smoothing": toys.smoothing(own),
    }
    with ExitStack() as stack:
        predictors = {n: stack.enter_context(served(n, r, settings)) for n, r in runners.items()}
        asked = GatewaySettings(data=root, predictors=predictors, tokens_file=tokens)
        yield stack.enter_context(start(asked))


def test_schemathesis_finds_nothing(url: str, tmp_path: Path) -> None:
    """No 5xx, no answer, header or content that is not described; bad requests are refused."""
    report = tmp_path / "report.json"
    program = "from schemathesis.cli import schemathesis; schemathesis()"
    ran = subprocess.run(
        [sys.executable, "-c", program, "run", f"{url}/openapi.json", "--url", url,
         "--header", "Authorization: Bearer t", "--exclude-path-regex", _UNUSED,
         "--exclude-checks", _UNSAYABLE, "--warnings", "off", "--max-examples", "5",
         "--seed", "7", "--no-shrink", "--continue-on-failure", "--no-color",
         "--report", "json", "--report-json-path", str(report)],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=300,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
    assert json.loads(report.read_text())


def test_the_gateway_is_well_after_that(url: str) -> None:
    """It answers, and still does its work."""
    headers = {"Authorization": "Bearer t"}
    answer = httpx.post(
        f"{url}/inference/tumor", json={"image_path": "A.nii.gz"}, headers=headers, timeout=60
    )
    assert answer.status_code == 200
    assert httpx.get(f"{url}/readyz").json() == {"status": "ready"}
