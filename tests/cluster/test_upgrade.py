"""What survives: an upgrade, a rollback, an uninstallation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.kube import Cluster, until
from cluster.release import Release, namespace
from nephra_cli import Client
from nephra_contract.nifti import write_labels
from nephra_phantom import Phantom, centred

GRID = centred((56, 48, 48), (6.2, 6.2, 6.2))


@pytest.fixture
def fresh(cluster: Cluster, base: Path, values: dict[str, Any]) -> Iterator[Release]:
    """Postprocess behind a gateway, not installed yet; the chart makes the claim."""
    few = {
        **values,
        "nnunet.enabled": False,
        "smoothing.enabled": False,
        "ingress.enabled": False,
        "persistence.existingClaim": "",
        "persistence.storageClass": "nephra-life",
        "persistence.size": "1Gi",
    }
    with namespace(cluster, "nephra-life", base / "life", claim=False):
        made = Release(cluster, "nephra", "nephra-life", base / "life", few)
        write_labels(made.data / "mask.nii.gz", Phantom(90_002).labels(GRID, "A"))
        yield made


def _ask(release: Release, operation: str = "fat", mask: str = "mask.nii.gz") -> Path:
    """Run one operation by port-forward; the path of its result."""
    target = f"service/{release.name}-gateway"
    with release.cluster.forward(release.namespace, target, 80) as url:
        answer = release.post(url, f"postprocess/{operation}", {"mask_path": mask})
    return release.data / str(answer["mask_path"])


def _tickets(release: Release) -> set[str]:
    """The tickets that have succeeded, by port-forward."""
    target = f"service/{release.name}-gateway"
    with (
        release.cluster.forward(release.namespace, target, 80) as url,
        Client(url, release.token) as client,
    ):
        return {t.ticket for t in client.tickets(["succeeded"]).tickets}


def _uninstall(release: Release) -> None:
    release.uninstall()
    until(lambda: not release.cluster.pods(release.namespace), 120, "all pods have gone")


def test_data_tickets_and_tokens_survive(fresh: Release) -> None:
    """Upgrade and rollback keep all; the claim outlives the release, and serves the next one."""
    cluster = fresh.cluster
    fresh.install()
    token, results = fresh.token, [_ask(fresh)]
    fresh.upgrade(gateway__podAnnotations={"version": "2"})
    assert fresh.token == token
    results.append(_ask(fresh))
    cluster.helm("rollback", fresh.name, "1", "-n", fresh.namespace)
    fresh.wait()
    assert fresh.token == token
    results.append(_ask(fresh))
    tickets = _tickets(fresh)
    assert len(tickets) == len(results)
    _uninstall(fresh)
    (claim,) = cluster.items("persistentvolumeclaim", fresh.namespace)
    assert claim["status"]["phase"] == "Bound"
    fresh.install(persistence__existingClaim=claim["metadata"]["name"])
    # What the first release made is what the next one is asked about.
    results.append(_ask(fresh, "merge", str(results[0].relative_to(fresh.data))))
    assert all(made.stat().st_size for made in results)
    assert tickets < _tickets(fresh)
    _uninstall(fresh)
    assert len(cluster.items("persistentvolumeclaim", fresh.namespace)) == 1
