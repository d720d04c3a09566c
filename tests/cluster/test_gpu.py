"""The nnU-Net pod goes where a GPU is offered, and nowhere else."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from cluster.kube import Cluster, command, until
from cluster.release import Release, namespace

GPU = "nvidia.com/gpu"


@pytest.fixture
def fake_gpu() -> Iterator[Any]:
    """Lets the node claim so many GPUs; skips where nothing can."""
    given = os.environ.get("NEPHRA_FAKE_GPU")
    if not given:
        pytest.skip("NEPHRA_FAKE_GPU names no command that lets a node claim GPUs")

    def claim(count: int) -> None:
        command(*shlex.split(given), str(count))

    claim(0)
    yield claim
    claim(0)


@pytest.fixture
def gpu_release(cluster: Cluster, base: Path, values: dict[str, Any]) -> Iterator[Release]:
    """Nnunet alone, told to use a GPU; the image and engine are the CPU's, the device is none."""
    with namespace(cluster, "nephra-gpu", base / "gpu"):
        made = Release(
            cluster,
            "nephra",
            "nephra-gpu",
            base / "gpu",
            {
                **values,
                "nnunet.gpu.enabled": True,
                "nnunet.gpu.repository": "nephra/nnunet",
                "nnunet.gpu.backend": "openvino",
                "smoothing.enabled": False,
                "postprocess.enabled": False,
                "ingress.enabled": False,
            },
        )
        made.helm("install")
        yield made
        made.uninstall()


def _pod(release: Release) -> Any:
    found = release.cluster.pods(release.namespace, release.selector("nnunet"))
    return found[0] if found else None


def test_it_waits_for_a_gpu_and_lands_on_it(gpu_release: Release, fake_gpu: Any) -> None:
    """Pending with the scheduler's reason, then ready on the node that offers one; replaceable."""

    def refused() -> str | None:
        pod = _pod(gpu_release)
        conditions = (pod and pod.status.conditions) or ()
        return next((c.message for c in conditions if c.reason == "Unschedulable"), None)

    assert until(refused, 60, "the scheduler has seen the pod")
    assert _pod(gpu_release).status.phase == "Pending"
    fake_gpu(1)
    until(lambda: gpu_release.pods("nnunet"), 120, "nnunet is ready")
    pod = _pod(gpu_release)
    node = client.CoreV1Api().read_node(pod.spec.node_name)
    assert node.metadata.labels["nvidia.com/gpu.present"] == "true"
    assert pod.spec.containers[0].name == "kserve-container"
    assert pod.spec.containers[0].resources.limits[GPU] == "1"
    said = gpu_release.cluster.run(gpu_release.namespace, pod.metadata.name, "env")
    assert "NEPHRA_DEVICE=cuda" in said.splitlines()
    # A rolling update would wait for ever for a GPU that the old pod holds.
    gpu_release.upgrade(nnunet__podAnnotations={"rollout": "2"})
    until(
        lambda: [p for p in gpu_release.pods("nnunet") if p != pod.metadata.name],
        120,
        "the new pod is ready",
    )
