"""`python -m nephra_postprocess` serves; `... run MODEL key=value --data DIR` runs one step."""

from __future__ import annotations

from nephra_contract.execution import OperationRunner
from nephra_contract.paths import DataRoot
from nephra_postprocess.operations import OPERATIONS
from nephra_postprocess.settings import Settings
from nephra_serving.main import main


def build(data: DataRoot) -> OperationRunner:
    """The runner of this predictor's operations on a data root."""
    return OperationRunner.of("postprocess", OPERATIONS, data, Settings().max_voxels)


if __name__ == "__main__":
    raise SystemExit(main("postprocess", build))
