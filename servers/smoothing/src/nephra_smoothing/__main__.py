"""`python -m nephra_smoothing` serves; `... run MODEL key=value --data DIR` runs one step.

`... bench --cases DIR` measures what surfaces cost, and how near to the truth they lie.
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
    from nephra_smoothing.operations import OPERATIONS
    from nephra_smoothing.settings import Settings

    return OperationRunner.of("smoothing", OPERATIONS, data, Settings().max_voxels)


def command() -> int:
    """Do what the arguments say."""
    if sys.argv[1:2] == ["bench"]:
        from nephra_smoothing.bench.command import main as bench_main

        return bench_main(sys.argv[2:])
    from nephra_serving.main import main

    return main("smoothing", build)


if __name__ == "__main__":
    raise SystemExit(command())
