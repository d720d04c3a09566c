"""Messages on the wire."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from nephra_contract.messages import Answer, Event


def test_unknown_members_are_refused() -> None:
    """A newer peer's member is never silently lost."""
    with pytest.raises(ValidationError):
        Answer.model_validate(
            {"ticket": "t", "operation": "a/b", "manifest_path": "m", "surprise": 1}
        )


def test_an_event_is_one_line_without_empty_members() -> None:
    """NDJSON, also when a text holds a line break."""
    line = Event(event="progress", stage="tiles\n", fraction=0.25).line()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line) == {"event": "progress", "stage": "tiles\n", "fraction": 0.25}
