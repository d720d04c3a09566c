"""`python -m nephra_smoothing` serves; `... run MODEL key=value --data DIR` runs one step."""

from __future__ import annotations

from nephra_contract.execution import OperationRunner
from nephra_contract.paths import DataRoot
from nephra_serving.main import main
from nephra_smoothing.operations import OPERATIONS
from nephra_smoothing.settings import Settings


def build(data: DataRoot) -> OperationRunner:
    """The runner of this predictor's operations on a data root."""
    return OperationRunner.of("smoothing", OPERATIONS, data, Settings().max_voxels)


if __name__ == "__main__":
    raise SystemExit(main("smoothing", build))
