"""Answers as JSON, whatever numbers an operation has put into its report."""

from __future__ import annotations

import json
from typing import Any

from nephra_contract.messages import Answer


def to_json(answer: Answer) -> dict[str, Any]:
    """The members of an answer that are there, as plain JSON values.

    NumPy's numbers and arrays become JSON's; NaN and infinities become null, for JSON has none.
    """
    text = answer.model_dump_json(exclude_none=True, fallback=plain)
    content: dict[str, Any] = json.loads(text)
    return content


def plain(value: Any) -> Any:
    """What JSON cannot say as what it can."""
    convert = getattr(value, "tolist", None)
    return str(value) if convert is None else convert()
