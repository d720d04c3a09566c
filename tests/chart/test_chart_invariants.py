"""The rules of invariants.py hold for all values under ci/, and each can fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chart.invariants import RULES, Rule, references
from chart.rendering import CI, Object, of_ci, pods, render, values

#: What the values name, and somebody else makes.
EXTERNAL = {
    "full": {
        "Secret/nephra-hashes",
        "Secret/nephra-database",
        "Secret/nephra-webhooks",
        "Secret/nephra-certificate",
        "Secret/nephra-test-token",
        "Secret/registry-credentials",
        "PersistentVolumeClaim/hospital-images",
        "PersistentVolumeClaim/trained-models",
        "ConfigMap/hospital-ca",
    },
    "postgresql": {"Secret/nephra-database"},
    "airgapped": {"Secret/nephra-hashes", "Secret/nephra-test-token", "Secret/registry"},
}
#: extraObjects are their author's.
FOREIGN = {"nephra-kidneys-hospital", "nephra-kidneys-as-text"}


def _objects(name: str) -> list[Object]:
    return [o for o in of_ci(name) if o["metadata"]["name"] not in FOREIGN]


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.__name__)
@pytest.mark.parametrize("name", CI)
def test_it_holds(name: str, rule: Rule) -> None:
    """For every object of every example."""
    assert set(rule(_objects(name))) == (EXTERNAL.get(name, set()) if rule is references else set())


def test_extra_objects_are_filled_in() -> None:
    """Those given as YAML, and those given as text."""
    assert {o["metadata"]["name"] for o in of_ci("full")} >= FOREIGN


def _pods(objects: list[Object]) -> list[Any]:
    return [p.spec for p in pods(objects)]


def _every(kind: str) -> Callable[[list[Object]], Iterator[Object]]:
    return lambda objects: (o for o in objects if o["kind"] == kind)


def _container(**change: Any) -> Callable[[list[Object]], None]:
    def sabotage(objects: list[Object]) -> None:
        container = next(p for p in pods(objects) if p.owner.startswith("Inference")).containers[-1]
        for key, value in change.items():
            target = container
            *parents, last = key.split("__")
            for parent in parents:
                target = target[parent]
            if value is None:
                del target[last]
            else:
                target[last] = value

    return sabotage


def _spec(**change: Any) -> Callable[[list[Object]], None]:
    def sabotage(objects: list[Object]) -> None:
        deployment = next(_every("Deployment")(objects))
        deployment["spec"]["template"]["spec"].update(change)

    return sabotage


def _first(kind: str, change: Callable[[Object], Any]) -> Callable[[list[Object]], None]:
    def sabotage(objects: list[Object]) -> None:
        change(next(_every(kind)(objects)))

    return sabotage


def _drop(kind: str) -> Callable[[list[Object]], None]:
    def sabotage(objects: list[Object]) -> None:
        objects.remove(next(_every(kind)(objects)))

    return sabotage


def _host_path(pod: Object) -> None:
    pod["spec"]["volumes"][0] = {"name": "data", "hostPath": {"path": "/"}}


def _unmount(pod: Object) -> None:
    pod["spec"]["containers"][0]["volumeMounts"].pop()


def _unbound(pod: Object) -> None:
    pod["spec"]["volumes"][1]["emptyDir"] = {}


def _allow(policy: Object) -> None:
    policy["spec"]["egress"] = [{}]


SABOTAGE: tuple[tuple[str, Callable[[list[Object]], None]], ...] = (
    ("resources", _container(resources__limits__memory=None)),
    ("resources", _container(resources=None)),
    ("probes", _container(readinessProbe=None)),
    ("probes", _container(readinessProbe__httpGet__path="/v2/health/ready")),
    ("probes", _container(livenessProbe__httpGet__port="other")),
    ("non_root", _spec(securityContext={"runAsUser": 0})),
    ("closed_containers", _container(securityContext__readOnlyRootFilesystem=False)),
    ("closed_containers", _container(securityContext__capabilities={"drop": ["NET_RAW"]})),
    ("closed_containers", _container(securityContext__privileged=True)),
    ("pinned", _container(image="nephra/smoothing")),
    ("pinned", _container(image="nephra/smoothing:latest")),
    ("pinned", _container(image="registry:5000/nephra/smoothing")),
    ("covered", _drop("NetworkPolicy")),
    ("covered", _first("NetworkPolicy", _allow)),
    ("names", _first("InferenceService", lambda o: o["metadata"].update(name="n" * 49))),
    ("names", _first("Service", lambda o: o["metadata"].update(name="A"))),
    ("no_token", _spec(automountServiceAccountToken=True)),
    ("no_token", _first("ServiceAccount", lambda o: o.pop("automountServiceAccountToken"))),
    ("nothing_of_the_host", _spec(hostNetwork=True)),
    ("nothing_of_the_host", _first("Pod", _host_path)),
    ("nothing_of_the_host", _spec(enableServiceLinks=True)),
    ("volumes", _first("Pod", _unmount)),
    ("volumes", _first("Pod", _unbound)),
    ("environment", _container(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}])),
    ("references", _drop("Secret")),
    ("references", _drop("ServiceAccount")),
    ("references", _drop("PersistentVolumeClaim")),
    ("selectors", _first("Service", lambda o: o["spec"]["selector"].update(other="1"))),
    (
        "selectors",
        _first("PodDisruptionBudget", lambda o: o["spec"]["selector"].pop("matchLabels")),
    ),
    ("targets", _drop("Service")),
    ("targets", _first("ScaledObject", lambda o: o["spec"]["scaleTargetRef"].update(name="x"))),
    ("belongs", _first("ServiceAccount", lambda o: o["metadata"]["labels"].clear())),
    ("belongs", _first("ServiceAccount", lambda o: o["metadata"].pop("namespace"))),
)


@pytest.mark.parametrize("number", range(len(SABOTAGE)), ids=lambda n: f"{SABOTAGE[n][0]}-{n}")
def test_it_can_fail(number: int) -> None:
    """Each rule finds each of the things that it is there to find."""
    name, sabotage = SABOTAGE[number]
    (rule,) = (r for r in RULES if r.__name__ == name)
    objects = render({**values("ingress"), **values("keda")})
    before = set(rule(objects))
    sabotage(objects)
    assert set(rule(objects)) - before


def test_every_rule_is_tried() -> None:
    """No rule without a sabotage."""
    assert {name for name, _ in SABOTAGE} == {rule.__name__ for rule in RULES}
