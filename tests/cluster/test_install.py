"""What an installation looks like when Helm has ended."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from images.store import size_over_base_mb

from cluster.kube import Cluster, is_ready, until
from cluster.release import CHART, Release, make_namespace

ROOT = Path(__file__).resolve().parents[2]
IDLE_GIB = 1.5
BUDGET_MB = {"gateway": 130, "nnunet": 950, "postprocess": 900, "smoothing": 700}
COMPONENTS = ("gateway", "nnunet", "postprocess", "smoothing")


def test_every_pod_runs_under_the_restricted_profile(release: Release) -> None:
    """The namespace enforces it, and all are ready without a restart."""
    labels = release.cluster.get("namespace", release.namespace, release.namespace)["metadata"][
        "labels"
    ]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    pods = release.cluster.pods(release.namespace, f"app.kubernetes.io/instance={release.name}")
    assert {p.metadata.labels["app.kubernetes.io/component"] for p in pods} >= set(COMPONENTS)
    for pod in pods:
        assert is_ready(pod), pod.metadata.name
        assert all(c.restart_count == 0 for c in pod.status.container_statuses), pod.metadata.name
        assert pod.spec.automount_service_account_token is False, pod.metadata.name


def test_helm_test_sends_a_phantom_through(release: Release) -> None:
    """And finds its masks right."""
    said = release.cluster.helm("test", release.name, "-n", release.namespace, "--logs")
    sys.stderr.write(said)
    assert "Phase:" in said
    assert "Succeeded" in said


def test_idle_pods_are_light(release: Release) -> None:
    """All of them together."""
    used = until(
        lambda: release.cluster.memory_bytes(release.namespace), 60, "metrics-server knows the pods"
    )
    total_gib = sum(used.values()) / 2**30
    sys.stderr.write(f"idle: {total_gib:.2f} GiB in {len(used)} pods: {used}\n")
    assert total_gib < IDLE_GIB


def test_images_are_small(images: Mapping[str, str]) -> None:
    """What each adds to its base, uncompressed."""
    if "NEPHRA_IMAGE_TAG" in os.environ:
        pytest.skip("the images of NEPHRA_IMAGE_TAG were not built here")
    sizes = {name: size_over_base_mb(f"nephra/{name}:{tag}") for name, tag in images.items()}
    sys.stderr.write(f"images, MB over the base: {sizes}\n")
    for name, size_mb in sizes.items():
        assert size_mb <= BUDGET_MB[name], name


def test_predictors_have_no_way_in_from_outside(release: Release) -> None:
    """KServe has made no route for them; the one Ingress is the gateway's."""
    said = json.loads(
        release.cluster.kubectl("get", "ingress", "-n", release.namespace, "-o", "json")
    )
    assert [i["metadata"]["name"] for i in said["items"]] == [release.name]


def _objects_of_all_values(cluster: Cluster) -> list[tuple[str, str]]:
    return [
        (path.name, cluster.helm("template", "valid", str(CHART), "-n", "valid", "-f", str(path)))
        for path in sorted((CHART / "ci").glob("*-values.yaml"))
    ]


@pytest.fixture(scope="module")
def known(cluster: Cluster) -> set[str]:
    """The API groups of this cluster; the core group has no name."""
    return {line.rpartition("/")[0] for line in cluster.kubectl("api-versions").split()}


def test_the_server_takes_every_object_of_all_values(cluster: Cluster, known: set[str]) -> None:
    """The real API server, KServe's webhooks and CRDs, with strict validation and nothing kept."""
    make_namespace(cluster, "valid")
    try:
        for name, text in _objects_of_all_values(cluster):
            objects = [o for o in yaml.safe_load_all(text) if o]
            here = [o for o in objects if o["apiVersion"].rpartition("/")[0] in known]
            assert len(here) > 10, name
            # A pod is refused whose account is not there, even if nothing is to be kept.
            cluster.apply(*[o for o in here if o["kind"] == "ServiceAccount"])
            everything = {"apiVersion": "v1", "kind": "List", "items": here}
            cluster.kubectl(
                "apply", "--dry-run=server", "--validate=strict", "-n", "valid", "-f", "-",
                text=json.dumps(everything),
            )  # fmt: skip
    finally:
        cluster.kubectl("delete", "namespace", "valid")
