"""What a predictor's server holds: KServe, and nothing that its worker works with."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Engines, and what reads and computes; NumPy comes with KServe.
HEAVY = (
    "SimpleITK", "cc3d", "edt", "networkx", "nibabel", "numba", "open3d", "openvino", "scipy",
    "skimage", "torch", "trimesh", "vtkmodules",
)  # fmt: skip


@pytest.mark.parametrize("predictor", ["nnunet", "postprocess", "smoothing"])
def test_a_server_imports_no_operation_and_no_engine(predictor: str) -> None:
    """A native library that is not there cannot block it, crash it, or take its memory."""
    code = (
        "import sys\n"
        f"import nephra_{predictor}.__main__, nephra_serving.main, nephra_serving.server\n"
        f"own = [m for m in sys.modules if m.startswith('nephra_{predictor}.')]\n"
        f"heavy = [m for m in {HEAVY} if m in sys.modules]\n"
        "print(own, heavy)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == f"['nephra_{predictor}.__main__'] []\n"
