"""Promises about blobs: they stay apart unless two sides support them."""

from __future__ import annotations

import cc3d
import numpy as np
import pytest

from nephra_contract import labels as names
from nephra_contract.operation import Outcome
from nephra_contract.progress import Progress
from nephra_contract.volume import LabelMap
from nephra_postprocess.operations.vessel import Vessel, join_vessels
from nephra_postprocess.tubes import bridges, plausibility

_SPACING_MM = 0.8


def _vessel(gap_mm: float, blob_mm: tuple[float, float, float] | None) -> LabelMap:
    """A vessel along z of 3 mm radius with a gap at 50 mm, and a blob of 2.4 mm."""
    x, y, z = np.meshgrid(
        *(np.arange(n) * _SPACING_MM for n in (60, 60, 125)), indexing="ij", sparse=True
    )
    tube = (x - 24) ** 2 + (y - 24) ** 2 <= 9
    tube = tube & (np.abs(z - 50) > gap_mm / 2) & (z > 4) & (z < 82)
    voxels = np.where(tube, names.ARTERY, 0).astype(np.uint8)
    if blob_mm is not None:
        a, b, c = blob_mm
        voxels[(x - a) ** 2 + (y - b) ** 2 + (z - c) ** 2 <= 2.4**2] = names.ARTERY
    return LabelMap(voxels, np.diag([_SPACING_MM] * 3 + [1.0]))


def _join(labels: LabelMap) -> Outcome:
    return join_vessels(labels, Vessel(), Progress())


def _pieces(labels: LabelMap) -> int:
    return int(cc3d.connected_components(labels.voxels > 0, connectivity=26, return_N=True)[1])


@pytest.mark.parametrize("place", [(24, 24, 88), (24, 31, 50), (36, 24, 30), (24, 24, 94)])
def test_a_blob_that_one_side_supports_stays_apart(place: tuple[float, float, float]) -> None:
    """Before an end, beside a gap or beside a wall: nothing is drawn to it."""
    outcome = _join(_vessel(8.0, place))
    (bridge,) = outcome.report["bridges"]
    assert bridge["length_mm"] == pytest.approx(8, abs=1.5)
    assert _pieces(outcome.value) == 2
    assert len(outcome.report["fragments"]) == 1


def test_a_blob_between_two_ends_is_a_stepping_stone() -> None:
    """A gap too long to be closed is closed where a blob lies on the way, and only then."""
    assert _pieces(_join(_vessel(28.0, None)).value) == 2
    assert _pieces(_join(_vessel(28.0, (24, 24, 50))).value) == 1
    assert _pieces(_join(_vessel(28.0, (24, 30, 50))).value) == 3


def test_work_grows_with_specks_not_with_their_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 3 000 specks hardly one is joined, and few pairs are judged: not 4.5 million."""
    rng = np.random.default_rng(5)
    voxels = np.zeros((160, 160, 160), np.uint8)
    for x, y, z in rng.integers(2, 156, (3000, 3)):
        voxels[x : x + 3, y : y + 3, z : z + 3] = names.ARTERY
    judged = 0
    real = plausibility.odds_of

    def count(*arguments: object) -> float:
        nonlocal judged
        judged += 1
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(bridges, "odds_of", count)
    for least_mm3, most in ((30.0, 500), (5.0, 20_000)):
        judged = 0
        labels = LabelMap(voxels, np.diag([_SPACING_MM] * 3 + [1.0]))
        parameters = Vessel(min_fragment_volume_mm3=least_mm3)
        outcome = join_vessels(labels, parameters, Progress())
        assert len(outcome.report["bridges"]) <= 3
        assert judged <= most
