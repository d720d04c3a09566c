"""A cluster as these tests use it: what runs there, running something in it, waiting for it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
from kubernetes import client, config

Value = TypeVar("Value")

POLL_S = 0.25


class Failed(AssertionError):
    """A command that had to succeed did not."""


@dataclass(frozen=True)
class Cluster:
    """The cluster that KUBECONFIG names.

    Args:
        ingress: URL of its ingress controller, as this machine reaches it.
    """

    ingress: str

    @classmethod
    def of_environment(cls) -> Cluster:
        """KUBECONFIG and NEPHRA_INGRESS, or nothing of this can run."""
        config.load_kube_config(os.environ["KUBECONFIG"])
        return cls(os.environ["NEPHRA_INGRESS"])

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        """Run kubectl; gives what it prints."""
        return command("kubectl", *arguments, text=text)

    def helm(self, *arguments: str) -> str:
        """Run helm; gives what it prints."""
        return command("helm", *arguments)

    def apply(self, *objects: Mapping[str, Any]) -> None:
        """Create or change objects; a member that the server does not know is an error."""
        everything = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", "--validate=strict", "-f", "-", text=json.dumps(everything))

    def get(self, kind: str, name: str, namespace: str) -> dict[str, Any]:
        """An object as the server has it."""
        found: dict[str, Any] = json.loads(
            self.kubectl("get", kind, name, "-n", namespace, "-o", "json")
        )
        return found

    def items(self, kind: str, namespace: str) -> list[dict[str, Any]]:
        """All objects of a kind in a namespace."""
        said = self.kubectl("get", kind, "-n", namespace, "-o", "json")
        found: list[dict[str, Any]] = json.loads(said)["items"]
        return found

    def pods(self, namespace: str, selector: str = "") -> list[Any]:
        """The pods of a namespace that are not ending."""
        found = client.CoreV1Api().list_namespaced_pod(namespace, label_selector=selector).items
        return [p for p in found if p.metadata.deletion_timestamp is None]

    def ready(self, namespace: str, selector: str) -> list[str]:
        """The names of the ready ones among them."""
        return [p.metadata.name for p in self.pods(namespace, selector) if is_ready(p)]

    def run(self, namespace: str, pod: str, *arguments: str) -> str:
        """Run a command in a pod's first container; gives what it prints."""
        return self.kubectl("exec", "-n", namespace, pod, "--", *arguments)

    def memory_bytes(self, namespace: str) -> dict[str, int]:
        """Pod → working set, of those pods that metrics-server knows."""
        found = client.CustomObjectsApi().list_namespaced_custom_object(
            "metrics.k8s.io", "v1beta1", namespace, "pods"
        )
        return {
            p["metadata"]["name"]: sum(_bytes(c["usage"]["memory"]) for c in p["containers"])
            for p in found["items"]
        }

    @contextlib.contextmanager
    def forward(self, namespace: str, target: str, port: int) -> Iterator[str]:
        """`kubectl port-forward` to a free port of loopback; gives its URL."""
        process = subprocess.Popen(
            ["kubectl", "port-forward", "-n", namespace, target, f":{port}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            assert found is not None, line
            yield f"http://127.0.0.1:{found.group(1)}"
        finally:
            process.terminate()
            process.communicate(timeout=30)


def command(*arguments: str, text: str | None = None) -> str:
    """Run a program; gives what it prints.

    Raises:
        Failed: its status is not 0.
    """
    done = subprocess.run(arguments, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{' '.join(arguments)}\n{done.stdout}{done.stderr}")
    return done.stdout


def until(condition: Callable[[], Value], seconds: float, what: str) -> Value:
    """Wait until a condition gives something true, and give that.

    Raises:
        Failed: it did not for so long.
    """
    deadline, never = time.monotonic() + seconds, threading.Event()
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {seconds:.0f} s")
        never.wait(POLL_S)
    return found


def is_ready(pod: Any) -> bool:
    """Whether a pod is ready."""
    return any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions or ())


def answers(url: str, headers: Mapping[str, str], status: int = 200) -> bool:
    """Whether a GET is answered so."""
    try:
        return httpx.get(url, headers=dict(headers), timeout=10).status_code == status
    except httpx.TransportError:
        return False


def settings(values: Mapping[str, Any]) -> Sequence[str]:
    """Values as arguments of helm."""
    return [f"--set-json={key}={json.dumps(value)}" for key, value in values.items()]


def _bytes(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(\w*)", quantity).groups()  # type: ignore[union-attr]
    return int(number) * {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}[unit]
