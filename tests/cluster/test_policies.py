"""Who reaches whom: each arrow of the design, and nothing else."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest
from kubernetes import client

from cluster import postgres
from cluster.kube import Cluster, is_ready, until
from cluster.release import Release, make_namespace

PREDICTORS = ("nnunet", "postprocess", "smoothing")
#: What the chart has not made, and so does not close.
OTHERS = {"dns", "api server", "database"}
#: Run inside of a pod: host:port → open, closed (no answer, or refused) or unknown (no such name).
REACH = """
import socket, sys
from concurrent.futures import ThreadPoolExecutor
def reach(target):
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except socket.gaierror:
        return "unknown"
    except OSError:
        return "closed"
    return "open"
with ThreadPoolExecutor() as pool:
    print(dict(zip(sys.argv[1:], pool.map(reach, sys.argv[1:]))))
"""


def _visitor(release: Release, namespace: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """A pod that does nothing, of an image that is there, under the restricted profile."""
    gateway = client.CoreV1Api().read_namespaced_pod(release.pods("gateway")[0], release.namespace)
    container = {
        "name": "visitor",
        "image": gateway.spec.containers[0].image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", "import signal; signal.pause()"],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "visitor", "namespace": namespace, "labels": dict(labels)},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
        },
    }


@pytest.fixture(scope="module")
def stranger(release: Release) -> Iterator[tuple[str, str]]:
    """(namespace, pod) beside nephra, without its labels."""
    yield from _with_visitor(release, release.namespace, {"role": "stranger"})


@pytest.fixture(scope="module")
def foreigner(release: Release) -> Iterator[tuple[str, str]]:
    """(namespace, pod) in another namespace, with the labels of the gateway."""
    cluster, name = release.cluster, "nephra-foreign"
    make_namespace(cluster, name)
    gateway = client.CoreV1Api().read_namespaced_pod(release.pods("gateway")[0], release.namespace)
    labels = {k: v for k, v in gateway.metadata.labels.items() if k.startswith("app.kubernetes.io")}
    try:
        yield from _with_visitor(release, name, labels)
    finally:
        cluster.kubectl("delete", "namespace", name)


def _with_visitor(
    release: Release, namespace: str, labels: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    release.cluster.apply(_visitor(release, namespace, labels))
    core = client.CoreV1Api()
    until(lambda: is_ready(core.read_namespaced_pod("visitor", namespace)), 60, "visitor is ready")
    yield namespace, "visitor"
    core.delete_namespaced_pod("visitor", namespace)


def _reach(cluster: Cluster, where: tuple[str, str], *targets: str) -> dict[str, str]:
    said = cluster.run(where[0], where[1], "python", "-c", REACH, *targets)
    found: dict[str, str] = ast.literal_eval(said.strip().splitlines()[-1])
    return found


def _address(release: Release, component: str, port: int) -> str:
    """Of a pod itself: names would say nothing where DNS is closed."""
    pod = client.CoreV1Api().read_namespaced_pod(release.pods(component)[0], release.namespace)
    return f"{pod.status.pod_ip}:{port}"


def _dns(release: Release) -> str:
    return f"{release.cluster.get('service', 'kube-dns', 'kube-system')['spec']['clusterIP']}:53"


def _api_server(release: Release) -> str:
    """Itself, and not its Service: policies count what connections really end at."""
    slices = release.cluster.items("endpointslices", "default")
    (found,) = (s for s in slices if s["metadata"]["name"] == "kubernetes")
    return f"{found['endpoints'][0]['addresses'][0]}:{found['ports'][0]['port']}"


def _database(release: Release) -> str:
    service = release.cluster.get("service", postgres.NAME, release.namespace)
    return f"{service['spec']['clusterIP']}:{postgres.PORT}"


def _own(release: Release, component: str) -> tuple[str, str]:
    return release.namespace, release.pods(component)[0]


def _everything(release: Release) -> dict[str, str]:
    """What there is to reach: address → what it is."""
    return {
        **{_address(release, c, 8080): f"{c} http" for c in ("gateway", *PREDICTORS)},
        **{_address(release, c, 9090): f"{c} metrics" for c in ("gateway", *PREDICTORS)},
        _dns(release): "dns",
        _api_server(release): "api server",
        _database(release): "database",
    }


def _open_from(release: Release, where: tuple[str, str]) -> set[str]:
    targets = _everything(release)
    found = _reach(release.cluster, where, *targets)
    return {targets[t] for t, state in found.items() if state == "open"}


def test_a_pod_without_the_right_label_reaches_nothing_of_ours(
    release: Release, stranger: tuple[str, str]
) -> None:
    """Neither predictors nor gateway, by no port; what is not ours it does reach."""
    assert _open_from(release, stranger) == OTHERS


def test_another_namespace_reaches_nothing_of_ours(
    release: Release, foreigner: tuple[str, str]
) -> None:
    """Whatever labels its pods bear."""
    assert _open_from(release, foreigner) == OTHERS


def test_the_gateway_reaches_predictors_database_and_dns_alone(release: Release) -> None:
    """Not their metrics, not the API server."""
    found = _open_from(release, _own(release, "gateway"))
    own = {"gateway http", "gateway metrics"}  # a pod always reaches itself
    assert found - own == {*(f"{p} http" for p in PREDICTORS), "dns", "database"}


@pytest.mark.parametrize("component", PREDICTORS)
def test_a_predictor_reaches_nothing(release: Release, component: str) -> None:
    """No other service, no database, no DNS, no API server."""
    found = _open_from(release, _own(release, component))
    assert found - {f"{component} http", f"{component} metrics"} == set()


def test_scraping_opens_the_metrics_alone(release: Release, foreigner: tuple[str, str]) -> None:
    """For the namespace that the values name, and only then."""
    scrapers = [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": foreigner[0]}}}
    ]
    release.upgrade(networkPolicy__scrapeFrom=scrapers)
    try:
        found = until(
            lambda: "smoothing metrics" in (f := _open_from(release, foreigner)) and f,
            30,
            "metrics are open",
        )
        assert found == {
            *OTHERS, *(f"{c} metrics" for c in ("gateway", *PREDICTORS)),
        }  # fmt: skip
    finally:
        release.upgrade()


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_models_cannot_be_loaded_or_unloaded(release: Release, verb: str) -> None:
    """Not even by the gateway's pod, which may speak to predictors, and not from outside."""
    path = f"v2/repository/models/base/{verb}"
    outside = httpx.post(
        f"{release.cluster.ingress}/{path}", headers=release.headers, json={}, timeout=30
    )
    assert outside.status_code == 404
    ask = "import httpx, sys; print(httpx.post(sys.argv[1], json={}, timeout=10).status_code)"
    url = f"http://{_address(release, 'smoothing', 8080)}/{path}"
    inside = release.cluster.run(*_own(release, "gateway"), "python", "-c", ask, url)
    assert inside.split() == ["404"]
