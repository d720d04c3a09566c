from __future__ import annotations

import numpy as np

from nephra_contract.messages import Answer
from nephra_serving.answers import to_json


def test_reports_may_hold_what_operations_compute_with() -> None:
    """NumPy's numbers and arrays, and numbers that JSON does not have."""
    report = {
        "count": np.int64(3),
        "dice": np.float32(0.5),
        "point_mm": np.array([1.0, 2.0]),
        "nothing": float("nan"),
        "nested": [{"deep": np.bool_(True)}],
    }
    answer = Answer(ticket="0" * 32, operation="x/y", manifest_path="m.json", report=report)
    assert to_json(answer)["report"] == {
        "count": 3,
        "dice": 0.5,
        "point_mm": [1.0, 2.0],
        "nothing": None,
        "nested": [{"deep": True}],
    }


def test_members_without_a_value_are_left_out() -> None:
    """An answer with a mask has no mesh paths."""
    answer = Answer(ticket="0" * 32, operation="x/y", manifest_path="m", mask_path="a.nii.gz")
    assert "obj_path" not in to_json(answer)
