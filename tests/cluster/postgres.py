"""A PostgreSQL beside a release, of an image that the tests build from Debian's package."""

from __future__ import annotations

import os
import secrets
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from images.build import builder

from cluster.kube import Cluster, command, until
from cluster.release import OURS, UID

IMAGE = "nephra/test-postgres:15"
NAME, SECRET, PORT = "nephra-postgres", "nephra-database", 5432
LABELS = {"app": NAME}
_FOLDER = Path(__file__).with_name("postgres")


@dataclass(frozen=True)
class Postgres:
    """A server that keeps its data when its pod goes.

    Args:
        cluster: where.
        namespace: of the release that uses it.
        data: the folder of its data, as this machine sees it.
    """

    cluster: Cluster
    namespace: str
    data: Path

    @property
    def values(self) -> dict[str, Any]:
        """What a release is told to use it."""
        return {
            "database.existingSecret": SECRET,
            "networkPolicy.database.to": [{"podSelector": {"matchLabels": LABELS}}],
        }

    @property
    def pod(self) -> str:
        """The pod that serves now."""
        (found,) = until(
            lambda: self.cluster.ready(self.namespace, f"app={NAME}"), 120, "PostgreSQL is ready"
        )
        return found

    def kill(self) -> None:
        """Take its pod away without a word, and wait for the next one."""
        before = self.pod
        self.cluster.kubectl(
            "delete", "pod", before, "-n", self.namespace, "--grace-period=0", "--force"
        )
        until(lambda: self.pod != before, 120, "PostgreSQL is back")


def build_image() -> None:
    """Bring the image into the cluster; built anew only where something has changed."""
    command(*builder(), "-f", str(_FOLDER / "Dockerfile"), "-t", IMAGE, str(_FOLDER))
    command(*shlex.split(os.environ["NEPHRA_LOAD"]), IMAGE)


@contextmanager
def served(cluster: Cluster, namespace: str, data: Path) -> Iterator[Postgres]:
    """PostgreSQL in a namespace that is there, until the block ends."""
    data.mkdir(parents=True)
    os.chown(data, UID, UID)
    data.chmod(0o700)
    password = secrets.token_hex(12)
    cluster.apply(_volume(namespace, data), *_objects(namespace, password))
    made = Postgres(cluster, namespace, data)
    try:
        until(lambda: made.pod, 120, "PostgreSQL is ready")
        yield made
    finally:
        for kind in ("deployment", "persistentvolumeclaim"):
            cluster.kubectl("delete", kind, NAME, "-n", namespace, "--timeout=120s")
        cluster.kubectl("delete", "persistentvolume", f"{namespace}-postgres")
        shutil.rmtree(data, ignore_errors=True)


def _volume(namespace: str, data: Path) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{namespace}-postgres", "labels": OURS},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": f"{namespace}-postgres",
            "hostPath": {"path": str(data), "type": "Directory"},
        },
    }


def _objects(namespace: str, password: str) -> list[dict[str, Any]]:
    metadata = {"name": NAME, "namespace": namespace}
    url = f"postgresql://nephra:{password}@{NAME}:{PORT}/postgres"
    claim = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": f"{namespace}-postgres",
        "resources": {"requests": {"storage": "1Gi"}},
    }
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": namespace},
            "stringData": {"url": url, "password": password},
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": metadata,
            "spec": claim,
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"selector": LABELS, "ports": [{"port": PORT}]},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": LABELS},
                "template": {"metadata": {"labels": LABELS}, "spec": _pod()},
            },
        },
    ]


def _pod() -> dict[str, Any]:
    ready = ["/usr/lib/postgresql/15/bin/pg_isready", "-h", "127.0.0.1"]
    container = {
        "name": "postgres",
        "image": IMAGE,
        "imagePullPolicy": "Never",
        "env": [
            {"name": "PGDATA", "value": "/data/cluster"},
            {
                "name": "PASSWORD",
                "valueFrom": {"secretKeyRef": {"name": SECRET, "key": "password"}},
            },
        ],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"exec": {"command": ready}, "periodSeconds": 1},
        "resources": {
            "requests": {"cpu": "50m", "memory": "64Mi"},
            "limits": {"cpu": "1", "memory": "256Mi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "data", "mountPath": "/data"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 10,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": UID,
            "runAsGroup": UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": NAME}},
            {"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}},
        ],
    }
