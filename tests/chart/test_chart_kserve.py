"""KServe's traps, each with what the chart does about it."""

from __future__ import annotations

from typing import Any

import pytest

from chart.rendering import CI, Object, find, kinds, of_ci, pods, render, values
from chart.schemas import NEWEST, wrongs

NAMES = ("nnunet", "smoothing", "postprocess")


def _services(given: dict[str, Any] | None = None) -> dict[str, Object]:
    found = kinds(render(given), "InferenceService")
    return {o["metadata"]["name"].removeprefix("nephra-"): o for o in found}


def test_there_is_one_for_each_predictor() -> None:
    """And none for one that is switched off; the gateway then knows nothing of it."""
    assert set(_services()) == set(NAMES)
    objects = render({"smoothing": {"enabled": False}})
    assert "nephra-smoothing" not in str(objects)


def test_readiness_is_that_of_the_models() -> None:
    """Not an open port, which is KServe's default, nor the server's, which is true before them."""
    for o in _services().values():
        (container,) = o["spec"]["predictor"]["containers"]
        for probe in ("startupProbe", "readinessProbe"):
            assert container[probe]["httpGet"] == {"path": "/readyz", "port": "http"}


def test_startup_takes_as_long_as_it_is_given() -> None:
    """Models are loaded and warmed meanwhile; liveness does not count before."""
    given = {"nnunet": {"startupSeconds": 901}, "smoothing": {"startupSeconds": 30}}
    for name, seconds in (("nnunet", 902), ("smoothing", 30)):
        probe = _services(given)[name]["spec"]["predictor"]["containers"][0]["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] == seconds


def test_routes_do_not_end_after_a_minute() -> None:
    """KServe's own route would; the chart's HTTPRoute has no limit, or none of its own."""
    for o in _services().values():
        assert o["spec"]["predictor"]["timeout"] > 60
    (route,) = kinds(of_ci("gateway-api"), "HTTPRoute")
    (rule,) = route["spec"]["rules"]
    assert rule["timeouts"] == {"request": "0s", "backendRequest": "0s"}
    given = values("gateway-api")
    given["httpRoute"]["timeout"] = ""
    (rule,) = kinds(render(given), "HTTPRoute")[0]["spec"]["rules"]
    assert "timeouts" not in rule
    (ingress,) = kinds(of_ci("ingress"), "Ingress")
    assert (
        ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-read-timeout"]
        == "3600"
    )
    assert ingress["metadata"]["annotations"]["nginx.ingress.kubernetes.io/proxy-body-size"] == "0"


def test_a_gpu_is_not_waited_for_by_two() -> None:
    """The old pod goes first on a GPU; elsewhere it stays until the new one is ready."""
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    for o in _services().values():
        assert o["spec"]["predictor"]["deploymentStrategy"] == rolling
    strategy = _services(values("gpu"))["nnunet"]["spec"]["predictor"]["deploymentStrategy"]
    assert strategy == {"type": "Recreate"}


@pytest.mark.parametrize("name", CI)
def test_kserve_container_is_first_and_its_first_port_serves(name: str) -> None:
    """KServe sends requests to the first port of the container of this name."""
    for o in kinds(of_ci(name), "InferenceService"):
        container = o["spec"]["predictor"]["containers"][0]
        assert container["name"] == "kserve-container"
        # Without a protocol KServe finds its Service changed each time that it looks.
        assert container["ports"] == [
            {"name": "http", "containerPort": 8080, "protocol": "TCP"},
            {"name": "metrics", "containerPort": 9090, "protocol": "TCP"},
        ]


def test_no_route_leads_to_a_predictor_unless_told() -> None:
    """The label keeps KServe's ingress away; public takes it off, and opens the policy."""
    for given, visible in (({}, False), ({"predictors": {"public": True}}, True)):
        for name, o in _services(given).items():
            label = o["metadata"]["labels"].get("networking.kserve.io/visibility")
            assert label == (None if visible else "cluster-local")
            policy = find(render(given), "NetworkPolicy", f"nephra-{name}")
            (rule,) = policy["spec"]["ingress"]
            assert len(rule["from"]) == 1 + visible


@pytest.mark.parametrize(
    ("mode", "annotated", "least", "most"),
    [
        ("none", "none", 2, 2),
        ("hpa", "hpa", 2, 4),
        ("keda", "keda", 2, 4),
        ("external", "external", None, None),
    ],
)
def test_one_scaler_scales(mode: str, annotated: str, least: Any, most: Any) -> None:
    """KServe's own, none, or that of somebody else, never two at once."""
    given = {"smoothing": {"autoscaling": {"mode": mode, "minReplicas": 2}}}
    o = _services(given)["smoothing"]
    predictor = o["spec"]["predictor"]
    assert o["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == annotated
    assert (predictor.get("minReplicas"), predictor.get("maxReplicas")) == (least, most)
    assert ("scaleMetric" in predictor) == (mode == "hpa")
    assert ("autoScaling" in predictor) == (mode == "keda")
    assert not kinds(render(given), "ScaledObject")
    assert not kinds(render(given), "HorizontalPodAutoscaler")


def test_keda_by_requests_is_the_charts_own() -> None:
    """KServe then leaves scaling to others, and the ScaledObject names its Deployment."""
    keda = {"prometheusAddress": "http://prometheus:9090", "requestsPerReplica": 3}
    given = {
        "smoothing": {"autoscaling": {"mode": "keda", "keda": keda}},
        "networkPolicy": {"enabled": False},
    }
    annotations = _services(given)["smoothing"]["metadata"]["annotations"]
    assert annotations["serving.kserve.io/autoscalerClass"] == "external"
    (scaler,) = kinds(render(given), "ScaledObject")
    assert scaler["spec"]["scaleTargetRef"]["name"] == "nephra-smoothing-predictor"
    (trigger,) = scaler["spec"]["triggers"]
    assert (trigger["type"], trigger["metadata"]["threshold"]) == ("prometheus", "3")
    assert 'service="nephra-smoothing-predictor"' in trigger["metadata"]["query"]


def test_keda_by_cpu_waits_for_no_deployment() -> None:
    """KEDA refuses a ScaledObject by CPU whose Deployment KServe has not made: KServe writes it."""
    given = {"smoothing": {"autoscaling": {"mode": "keda"}}}
    assert not kinds(render(given), "ScaledObject")
    (scaler,) = kinds(render({**given, "predictors": {"kind": "Deployment"}}), "ScaledObject")
    assert scaler["spec"]["triggers"] == [
        {"type": "cpu", "metricType": "Utilization", "metadata": {"value": "70"}}
    ]


def test_older_kserve_gets_what_it_knows() -> None:
    """Its name of the mode, and an HPA that cannot move for none, which it does not know."""
    o = _services({"predictors": {"deploymentMode": "RawDeployment"}})["nnunet"]
    said = o["metadata"]["annotations"]
    assert said["serving.kserve.io/deploymentMode"] == "RawDeployment"
    assert said["serving.kserve.io/autoscalerClass"] == "hpa"
    predictor = o["spec"]["predictor"]
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (1, 1)


def test_standard_is_what_newer_kserve_calls_it() -> None:
    """Without the annotation the cluster's default counts, which may be Knative."""
    for o in _services().values():
        assert o["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"


def test_upgrades_of_the_chart_restart_no_predictor() -> None:
    """KServe copies labels and annotations to pods: none of them names the chart's version."""
    for o in _services().values():
        said = {**o["metadata"]["labels"], **o["metadata"].get("annotations", {})}
        assert not {"helm.sh/chart", "app.kubernetes.io/version"} & set(said)
    for pod in pods(render()):
        if pod.serves:
            assert not {"helm.sh/chart", "app.kubernetes.io/version"} & set(pod.labels)


def test_variables_that_kserve_blocks_are_not_set() -> None:
    """Its webhook refuses PYTHONPATH; the images set it themselves."""
    for name in CI:
        for pod in pods(of_ci(name)):
            assert not [
                e for c in pod.containers for e in c.get("env", ()) if e["name"] == "PYTHONPATH"
            ]


def test_services_have_the_names_that_kserve_gives() -> None:
    """So that the gateway finds predictors of both kinds under the same URL."""
    plain = render({"predictors": {"kind": "Deployment"}})
    services = {o["metadata"]["name"]: o["spec"]["ports"] for o in kinds(plain, "Service")}
    for given in ({}, {"predictors": {"kind": "Deployment"}}):
        (gateway,) = kinds(render(given), "Deployment")[:1]
        env = gateway["spec"]["template"]["spec"]["containers"][0]["env"]
        (said,) = (e["value"] for e in env if e["name"] == "NEPHRA_PREDICTORS")
        for name in NAMES:
            assert f'"{name}":"http://nephra-{name}-predictor.hospital"' in said
            assert services[f"nephra-{name}-predictor"][0]["port"] == 80


@pytest.mark.parametrize(
    "release",
    ["a", "nephra", "my.nephra", "1st", "x" * 53, "nephra-" + "x" * 46, f"{'x' * 28}-{'y' * 24}"],
)
def test_names_fit_whatever_the_release_is_called(release: str) -> None:
    """63 characters, with what KServe adds; a letter first, as its webhook asks."""
    objects = render(name=release, namespace="n" * 63)
    for o in objects:
        name = o["metadata"]["name"]
        assert len(name) <= 63
        assert wrongs(o, NEWEST) == []
        if o["kind"] == "InferenceService":
            assert len(f"isvc.{name}-predictor") <= 63
            assert name[0].isalpha()
            assert "." not in name


def test_long_names_stay_apart() -> None:
    """Two releases that begin alike are not cut to the same name."""
    names = {kinds(render(name="x" * 45 + end), "Service")[0]["metadata"]["name"] for end in "ab"}
    assert len(names) == 2
