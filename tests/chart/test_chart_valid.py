"""Every object of all values under ci/ is what its API takes."""

from __future__ import annotations

import copy
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest

from chart import helm
from chart.rendering import CI, find, of_ci, render, values
from chart.schemas import NEWEST, OLDEST, wrongs

WANTED = {
    "airgapped", "full", "gateway-api", "gpu", "ingress", "keda", "minimal", "plain", "postgresql",
}  # fmt: skip


def test_all_examples_are_there() -> None:
    """The nine ways of installing that are promised."""
    assert set(CI) == WANTED


def test_newest_is_the_newest_known() -> None:
    """When the package learns a newer Kubernetes, the tests do too."""
    assert kubernetes_validate.latest_version() == f"{NEWEST}.0"


@pytest.mark.parametrize("name", [*CI, None])
def test_lint_has_nothing_to_say(name: str | None) -> None:
    """`helm lint --strict` with each example, and with the defaults."""
    report = helm.lint(values(name) if name else None)
    assert report["errors"] == []
    said = [m["error"] for m in report["messages"]]
    assert said == ["icon is recommended"]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("name", CI)
def test_every_object_is_valid(name: str, version: str) -> None:
    """By closed schemas: Kubernetes' own, KServe's models, and ours for what comes as a CRD."""
    for o in of_ci(name):
        assert wrongs(o, version) == [], f"{o['kind']}/{o['metadata']['name']}"


@pytest.mark.parametrize("name", sorted(set(CI) - {"full"}))
def test_older_kubernetes_takes_it_too(name: str) -> None:
    """The oldest that Chart.yaml allows; image volumes, which `full` has, are newer."""
    oldest = helm.kube_version().removeprefix(">=").partition(".0-0")[0]
    for o in of_ci(name):
        assert wrongs(o, oldest) == [], f"{o['kind']}/{o['metadata']['name']}"


def test_all_kinds_are_rendered_by_some_example() -> None:
    """So that no template stays untried."""
    assert {o["kind"] for name in CI for o in of_ci(name)} == {
        "ConfigMap",
        "Deployment",
        "HTTPRoute",
        "HorizontalPodAutoscaler",
        "InferenceService",
        "Ingress",
        "Job",
        "NetworkPolicy",
        "PersistentVolumeClaim",
        "Pod",
        "PodDisruptionBudget",
        "PrometheusRule",
        "ScaledObject",
        "Secret",
        "Service",
        "ServiceAccount",
        "ServiceMonitor",
    }


def _first(kind: str) -> dict[str, Any]:
    return copy.deepcopy(next(o for name in CI for o in of_ci(name) if o["kind"] == kind))


@pytest.mark.parametrize(
    "kind", sorted({o["kind"] for name in CI for o in of_ci(name)} - {"ConfigMap", "Secret"})
)
def test_a_strange_member_is_found(kind: str) -> None:
    """In every kind of object that has a spec, at its top and inside."""
    for path in ((), ("metadata",), ("spec",)):
        o = _first(kind)
        part = o
        for key in path:
            part = part.setdefault(key, {})
        part["surprise"] = 1
        assert wrongs(o, NEWEST), (kind, path)


def test_strange_members_of_an_inference_service_are_found() -> None:
    """Deep inside of its pod, where KServe's own CRD would keep or drop them silently."""
    places: tuple[tuple[Any, ...], ...] = (
        ("spec", "predictor", "containers", 0),
        ("spec", "predictor", "containers", 0, "readinessProbe", "httpGet"),
        ("spec", "predictor", "deploymentStrategy", "rollingUpdate"),
        ("spec", "predictor", "volumes", 0),
        ("spec", "predictor", "securityContext"),
    )
    for path in places:
        o = copy.deepcopy(find(render(), "InferenceService", "nephra-smoothing"))
        part: Any = o
        for key in path:
            part = part[key]
        part["surprise"] = 1
        assert any("surprise" in w for w in wrongs(o, NEWEST)), path


def test_wrong_types_of_an_inference_service_are_found() -> None:
    """A text where a number has to be."""
    o = copy.deepcopy(find(render(), "InferenceService", "nephra-smoothing"))
    o["spec"]["predictor"]["scaleTarget"] = "70"
    assert wrongs(o, NEWEST)
