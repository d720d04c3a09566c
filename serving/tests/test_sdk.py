"""The KServe SDK, light until somebody asks for the rest of it."""

from __future__ import annotations

import subprocess
import sys


def _run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout


def test_a_server_holds_no_library_that_it_does_not_use() -> None:
    """Neither KServe's Kubernetes client nor what operations compute with."""
    code = (
        "import sys, nephra_serving.main, nephra_serving.server\n"
        "heavy = {'pandas', 'kubernetes', 'scipy', 'nibabel', 'nephra_contract.execution',\n"
        "         'nephra_contract.volume', 'nephra_serving.testing'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    assert _run(code) == "[]\n"


def test_the_rest_of_the_sdk_is_there_when_it_is_asked_for() -> None:
    """The same classes, the libraries that were left out, and our arguments, which it parses."""
    code = (
        "import sys\n"
        "sys.argv = ['x', '--http_port', 'none of its business']\n"
        "from nephra_serving import sdk\n"
        "assert len(sys.argv) == 3\n"
        "import kserve\n"
        "from kserve.utils import utils\n"
        "assert 'kubernetes' not in sys.modules\n"
        "assert kserve.Model is sdk.Model\n"
        "from kserve import KServeClient, V1beta1InferenceService\n"
        "assert V1beta1InferenceService(kind='x').kind == 'x'\n"
        "import pandas\n"
        "assert utils.pd.DataFrame is pandas.DataFrame\n"
        "assert sys.modules['pandas'].__file__\n"
    )
    assert _run(code) == ""
