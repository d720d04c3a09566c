"""Promises of `postprocess/vessel`."""

from __future__ import annotations

from nephra_contract.errors import StructureMissing
from nephra_contract.testing import OperationTests
from nephra_postprocess.operations.vessel import OPERATION


class TestVessel(OperationTests):
    """The conformance suite."""

    operation = OPERATION
    empty_error = StructureMissing
