"""The nnU-Net predictor: requests in, answers out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nephra_contract.errors import OperationUnknown
from nephra_contract.messages import Answer, BundleDescription, OperationDescription
from nephra_contract.operation import Operation
from nephra_contract.paths import DataRoot
from nephra_contract.progress import Progress
from nephra_nnunet.engine import Engine
from nephra_nnunet.operations import OPERATIONS
from nephra_nnunet.reader import Reader
from nephra_nnunet.work import Work

_PREDICTOR = "nnunet"
_BY_MODEL: Mapping[str, Operation] = {o.model: o for o in OPERATIONS}


@dataclass(frozen=True)
class NnunetRunner:
    """What this predictor is to the KServe shell and to the command line.

    Args:
        engine: the models.
        data: the data root.
        reader: reads images.
    """

    engine: Engine
    data: DataRoot
    reader: Reader

    def describe(self) -> list[OperationDescription]:
        """The operations that it offers."""
        return [o.describe(_PREDICTOR) for o in OPERATIONS]

    def bundles(self) -> list[BundleDescription]:
        """The bundles that can work."""
        return [b.describe() for b in self.engine.bundles.values()]

    def run(self, model: str, request: Mapping[str, Any], progress: Progress) -> Answer:
        """Serve one request. See `nephra_contract.execution.Runner.run`."""
        if model not in _BY_MODEL:
            raise OperationUnknown(
                f"{_PREDICTOR} offers no '{model}'.", f"It offers: {', '.join(_BY_MODEL)}."
            )
        operation = _BY_MODEL[model]
        parsed = operation.parse(request)
        work = Work.begin(self.engine, self.data, self.reader, operation, parsed)
        with self.engine.turn(progress):
            work.make_room()
            answer = work.several(progress) if operation.name == "inference" else work.one(progress)
        progress.advance(1.0, "done")
        return answer
