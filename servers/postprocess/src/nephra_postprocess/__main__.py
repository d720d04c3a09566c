"""`python -m nephra_postprocess` serves; `... run MODEL key=value --data DIR` runs one step.

`... bench --cases DIR` measures how well masks are mended, and what it costs.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nephra_contract.execution import OperationRunner
    from nephra_contract.paths import DataRoot


def build(data: DataRoot) -> OperationRunner:
    """The runner of this predictor's operations on a data root, for its worker."""
    from nephra_contract.execution import OperationRunner
    from nephra_postprocess.operations import OPERATIONS
    from nephra_postprocess.settings import Settings
    from nephra_postprocess.tubes.forest import backend

    # Found out here, once, and not at a first patient.
    backend()
    return OperationRunner.of("postprocess", OPERATIONS, data, Settings().max_voxels)


def command() -> int:
    """Do what the arguments say."""
    if sys.argv[1:2] == ["bench"]:
        from nephra_postprocess.bench.command import main as bench_main

        return bench_main(sys.argv[2:])
    from nephra_serving.main import main

    return main("postprocess", build)


if __name__ == "__main__":
    raise SystemExit(command())
