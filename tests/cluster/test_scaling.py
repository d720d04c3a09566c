"""Load on one predictor scales that one, up and down again."""

from __future__ import annotations

from cluster.kube import until
from cluster.load import Load
from cluster.release import Release


def _replicas(release: Release, component: str) -> int:
    return len(release.pods(component))


def test_smoothing_scales_by_itself(release: Release, small: dict[str, str]) -> None:
    """From 1 to 2 under load and back without; postprocess stays; no request is lost."""
    until(  # what came before may have scaled them
        lambda: _replicas(release, "smoothing") == _replicas(release, "postprocess") == 1,
        240,
        "both are at one",
    )
    with Load(
        release.cluster.ingress, "smoothing/base", {"mask_path": small["mask"]}, release.headers, 4
    ) as load:
        until(lambda: _replicas(release, "smoothing") == 2, 240, "smoothing has a second replica")
        assert _replicas(release, "postprocess") == 1
    load.check(at_least=4)
    until(lambda: _replicas(release, "smoothing") == 1, 300, "smoothing is at one again")
    assert _replicas(release, "postprocess") == 1
