"""nephra installed by Helm in a namespace of its own, and what is asked of it."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from cluster.kube import Cluster, answers, settings, until

CHART = Path(__file__).resolve().parents[2] / "charts" / "nephra"
VALUES = Path(__file__).with_name("values.yaml")
UID = 10001
#: How long an installation may take whose images are there.
READY_WITHIN_S = 180
CLAIM = "nephra-data"
#: By this label what an earlier run has left is found.
OURS = {"nephra.test": "yes"}


@dataclass(frozen=True)
class Release:
    """One installation.

    Args:
        cluster: where.
        name: of the release.
        namespace: its own, under the restricted profile.
        data: its data root as this machine sees it.
        values: beyond tests/cluster/values.yaml.
    """

    cluster: Cluster
    name: str
    namespace: str
    data: Path
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def token(self) -> str:
        """The token that the chart made."""
        secret = self.cluster.get("secret", f"{self.name}-tokens", self.namespace)
        return base64.b64decode(secret["data"]["token"]).decode()

    @property
    def headers(self) -> dict[str, str]:
        """What a caller sends along."""
        return {"Authorization": f"Bearer {self.token}"}

    def helm(self, verb: str, *arguments: str, **values: Any) -> str:
        """`helm install` or `upgrade` of the chart with all values."""
        merged = {**self.values, **{k.replace("__", "."): v for k, v in values.items()}}
        return self.cluster.helm(
            verb, self.name, str(CHART), "-n", self.namespace, "-f", str(VALUES),
            *settings(merged), *arguments,
        )  # fmt: skip

    def install(self, **values: Any) -> None:
        """Install, and wait until all is ready."""
        self.helm("install", **values)
        self.wait()

    def upgrade(self, **values: Any) -> None:
        """Change values, and wait until all is ready again."""
        self.helm("upgrade", **values)
        self.wait()

    def uninstall(self) -> None:
        """Remove all that Helm has installed."""
        self.cluster.helm("uninstall", self.name, "-n", self.namespace, "--wait")

    def wait(self) -> None:
        """Wait until every pod that is to run is there and ready.

        `helm --wait` of Helm 4 would wait for ever once an autoscaler has changed a Deployment: it
        compares the InferenceService's generation with that of the Deployment, which is what KServe
        writes into its status.
        """
        time_out = f"--timeout={READY_WITHIN_S}s"
        where = ("-n", self.namespace)
        self.cluster.kubectl("wait", "isvc", "--all", "--for=condition=Ready", time_out, *where)
        mine = f"--selector=app.kubernetes.io/instance={self.name}"
        self.cluster.kubectl("rollout", "status", "deployment", mine, time_out, *where)

    def selector(self, component: str) -> str:
        """The label selector of a component's pods."""
        return f"app.kubernetes.io/instance={self.name},app.kubernetes.io/component={component}"

    def pods(self, component: str) -> list[str]:
        """The ready pods of a component."""
        return self.cluster.ready(self.namespace, self.selector(component))

    def wait_until_served(self, url: str) -> None:
        """A route is served a moment after its object is there, and predictors are asked then."""
        until(lambda: answers(f"{url}/readyz", self.headers), 60, f"{url} is ready")

    def post(self, url: str, operation: str, request: Any, timeout_s: float = 600) -> Any:
        """The answer of an operation that must succeed."""
        answer = httpx.post(
            f"{url}/{operation}", json=request, headers=self.headers, timeout=timeout_s
        )
        assert answer.status_code == 200, answer.text
        return answer.json()


def make_namespace(cluster: Cluster, name: str, **labels: str) -> None:
    """Make a namespace that `clear` finds."""
    metadata = {"name": name, "labels": {**OURS, **labels}}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})


def clear(cluster: Cluster) -> None:
    """Remove what a run has left that was cut short."""
    mine = "--selector=nephra.test=yes"
    for namespace in cluster.kubectl("get", "namespace", mine, "-o", "name").split():
        # Its gateways would wait for what they were asked until their predictors are back.
        where = f"--namespace={namespace.partition('/')[2]}"
        cluster.kubectl("delete", "pods", "--all", "--force", "--grace-period=0", where)
    for kind in ("namespace", "persistentvolume"):
        cluster.kubectl("delete", kind, mine, "--timeout=180s")


@contextlib.contextmanager
def namespace(cluster: Cluster, name: str, data: Path, claim: bool = True) -> Iterator[None]:
    """A namespace under the restricted profile, and a volume that is a folder of this machine.

    Args:
        cluster: where.
        name: of the namespace, and of the volume's storage class.
        data: the folder.
        claim: whether the volume is claimed already, as `nephra-data`.
    """
    data.mkdir(parents=True, exist_ok=True)
    os.chown(data, UID, UID)
    make_namespace(cluster, name, **{"pod-security.kubernetes.io/enforce": "restricted"})
    cluster.apply(_volume(name, data), *([_claim(name)] if claim else []))
    try:
        yield
    finally:
        cluster.kubectl("delete", "namespace", name, "--timeout=180s")
        cluster.kubectl("delete", "persistentvolume", name)
        shutil.rmtree(data, ignore_errors=True)


def _volume(name: str, folder: Path) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "labels": OURS},
        "spec": {
            "capacity": {"storage": "10Gi"},
            "accessModes": ["ReadWriteMany"],
            "storageClassName": name,
            "hostPath": {"path": str(folder), "type": "Directory"},
        },
    }


def _claim(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": CLAIM, "namespace": namespace},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": namespace,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
