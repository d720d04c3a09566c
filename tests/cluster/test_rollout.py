"""New versions and lost pods under load: no request that was accepted is lost."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kubernetes import client

from cluster.kube import until
from cluster.load import Load
from cluster.release import Release

#: What keeps a service busy: operation and what it is given.
WORK = {
    "gateway": ("postprocess/fat", "mask_path", "mask"),
    "nnunet": ("inference/totalseg", "image_path", "image"),
    "postprocess": ("postprocess/fat", "mask_path", "mask"),
    "smoothing": ("smoothing/base", "mask_path", "mask"),
}


@pytest.fixture(scope="module")
def annotated() -> dict[str, Any]:
    """What this module has changed so far: an upgrade is not to take an earlier one back."""
    return {}


@contextmanager
def _busy(release: Release, component: str, small: dict[str, str]) -> Iterator[Load]:
    """Load on a service from before the block until some requests after it."""
    operation, member, what = WORK[component]
    request = {member: small[what]}
    with Load(release.cluster.ingress, operation, request, release.headers, 3) as load:
        until(lambda: load.answered >= 3, 300, "requests are answered")
        yield load
        after = load.answered
        until(lambda: load.answered >= after + 3, 300, "requests are answered afterwards")
    sys.stderr.write(f"{component}: {load.answered} of {len(load.outcomes)} answered\n")
    load.check(at_least=6)


def _wait_for_another(release: Release, component: str, before: set[str]) -> None:
    """All pods of before have gone, and as many others are ready."""
    core, selector = client.CoreV1Api(), release.selector(component)

    def replaced() -> bool:
        names = {
            p.metadata.name
            for p in core.list_namespaced_pod(release.namespace, label_selector=selector).items
        }
        return not names & before and bool(release.pods(component))

    until(replaced, 300, f"{component} is replaced")


@pytest.mark.parametrize("component", WORK)
def test_a_rollout_loses_nothing(
    release: Release, small: dict[str, str], annotated: dict[str, Any], component: str
) -> None:
    """`helm upgrade` replaces the pods of one service while it works."""
    with _busy(release, component, small):
        before = set(release.pods(component))
        annotated[f"{component}__podAnnotations"] = {"rollout": "now"}
        release.upgrade(**annotated)
        _wait_for_another(release, component, before)


@pytest.mark.parametrize("component", WORK)
def test_a_deleted_pod_loses_nothing(
    release: Release, small: dict[str, str], component: str
) -> None:
    """`kubectl delete pod` in the midst of its work."""
    with _busy(release, component, small):
        victim = release.pods(component)[0]
        release.cluster.kubectl("delete", "pod", victim, "-n", release.namespace, "--wait=false")
        _wait_for_another(release, component, {victim})


@pytest.mark.parametrize("component", ["nnunet", "postprocess", "smoothing"])
def test_a_killed_pod_loses_nothing(
    release: Release, small: dict[str, str], component: str
) -> None:
    """A pod that is gone without a word, as with its node: the gateway asks again."""
    with _busy(release, component, small):
        victim = release.pods(component)[0]
        release.cluster.kubectl(
            "delete", "pod", victim, "-n", release.namespace, "--grace-period=0", "--force"
        )
        _wait_for_another(release, component, {victim})


def test_nothing_half_written_is_left(release: Release) -> None:
    """After all of that, each folder in results holds finished results only."""
    left = [
        str(p.relative_to(release.data))
        for p in (release.data / "results").rglob("*")
        if "partial" in p.name or p.name.startswith(".")
    ]
    assert left == []
