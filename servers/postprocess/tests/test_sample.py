"""Promises of `postprocess/sample`."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from nephra_contract import labels as names
from nephra_contract.errors import StructureMissing
from nephra_contract.testing import OperationTests, anatomy
from nephra_contract.volume import LabelMap
from nephra_postprocess.operations.sample import OPERATION


def _patient() -> LabelMap:
    """Kidneys and tumour of the made-up anatomy, somewhere else and larger."""
    whole = anatomy()
    kept = whole.mask((names.KIDNEY_RIGHT, names.KIDNEY_LEFT, names.TUMOR))
    affine = whole.affine.copy()
    affine[:3, :3] *= 1.1
    affine[:3, 3] += (4.0, 9.0, -30.0)
    return LabelMap(np.where(kept, whole.voxels, 0).astype(np.uint8), affine)


class TestSample(OperationTests):
    """The conformance suite, with a template of its own."""

    operation = OPERATION
    empty_error = StructureMissing
    parameters: ClassVar[dict[str, Any]] = {"grid_mm": 4.0}

    def inputs(self) -> list[Any]:
        """A patient's kidneys and tumour, and a whole anatomy."""
        return [_patient(), anatomy()]
