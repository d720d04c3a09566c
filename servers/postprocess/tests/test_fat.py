"""Promises of `postprocess/fat`."""

from __future__ import annotations

from nephra_contract.errors import StructureMissing
from nephra_contract.labels import PERIRENAL_FAT
from nephra_contract.testing import OperationTests
from nephra_postprocess.operations.fat import OPERATION


class TestFat(OperationTests):
    """The conformance suite."""

    operation = OPERATION
    adds = (PERIRENAL_FAT,)
    empty_error = StructureMissing
