"""Progress and cancelling."""

from __future__ import annotations

import pytest

from nephra_contract.errors import Cancelled
from nephra_contract.progress import Progress


def test_parts_report_their_share_of_the_whole() -> None:
    """Half of the second half is three quarters."""
    seen: list[tuple[float, str]] = []
    whole = Progress(report=lambda fraction, stage: seen.append((fraction, stage)))
    whole.part(0.5, 1.0).advance(0.5, "tiles")
    whole.part(0.5, 1.0).part(0.0, 0.5).advance(2.0, "over")
    assert [fraction for fraction, _ in seen] == pytest.approx([0.75, 0.75])
    assert [stage for _, stage in seen] == ["tiles", "over"]


def test_stop_reaches_every_part() -> None:
    """Whoever holds a part learns that nobody waits."""
    whole = Progress()
    part = whole.part(0.2, 0.4)
    part.advance(0.1)
    whole.stop.set()
    with pytest.raises(Cancelled):
        part.advance(0.2)


def test_artifacts_pass_through_parts() -> None:
    """Early results are handed on."""
    got: list[str] = []
    whole = Progress(artifact=lambda stage, _: got.append(stage))
    whole.part(0, 0.5).artifact("inference/totalseg", {})
    assert got == ["inference/totalseg"]
