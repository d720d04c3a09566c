"""Values that are impossible together are refused in a sentence; their neighbours are not."""

from __future__ import annotations

from typing import Any

import pytest

from chart.helm import Refused
from chart.rendering import render

RWO = {"accessModes": ["ReadWriteOnce"]}
FIXED = {"autoscaling": {"mode": "none"}}
ONE_NODE = {"persistence": RWO, "smoothing": FIXED, "postprocess": FIXED}
HOST = {"enabled": True, "host": "nephra.example.org"}
DATABASE = {
    "database": {"existingSecret": "s"},
    "networkPolicy": {"database": {"to": [{"ipBlock": {"cidr": "10.0.0.1/32"}}]}},
}
TRIGGER = {"type": "cron", "metadata": {"timezone": "Europe/Berlin"}}


def _scaling(**given: Any) -> dict[str, Any]:
    return {"smoothing": {"autoscaling": given}}


REFUSED: tuple[tuple[dict[str, Any], str], ...] = (
    (
        {"auth": {"mode": "none", "existingSecret": "s"}},
        "auth.existingSecret has no use with auth.mode none",
    ),
    (
        {"auth": {"mode": "none"}, "ingress": HOST},
        "auth.mode none behind an Ingress or an HTTPRoute",
    ),
    (
        {"auth": {"mode": "none"}, "httpRoute": {"enabled": True, "parentRefs": [{"name": "g"}]}},
        "auth.mode none behind an Ingress or an HTTPRoute",
    ),
    ({"ingress": {"enabled": True}}, "ingress.enabled needs ingress.host"),
    (
        {"ingress": {**HOST, "tls": {"enabled": True}}},
        "ingress.tls.enabled needs ingress.tls.secretName",
    ),
    (
        {"ingress": {"enabled": True, "host": "*", "tls": {"enabled": True, "secretName": "s"}}},
        "ingress.tls needs a host of its own",
    ),
    ({"httpRoute": {"enabled": True}}, "httpRoute.enabled needs httpRoute.parentRefs"),
    (
        {"monitoring": {"serviceMonitor": {"enabled": True}}},
        "monitoring.serviceMonitor needs networkPolicy.scrapeFrom",
    ),
    (
        {"monitoring": {"prometheusRule": {"enabled": True}}},
        "monitoring.prometheusRule needs networkPolicy.scrapeFrom",
    ),
    (
        _scaling(mode="keda", keda={"prometheusAddress": "http://prometheus:9090"}),
        "smoothing.autoscaling.keda.prometheusAddress needs networkPolicy.scrapeFrom",
    ),
    (
        {"gateway": {"extraPredictors": {"other": "http://other"}}},
        "gateway.extraPredictors needs networkPolicy.gatewayTo",
    ),
    (
        {
            "gateway": {"extraPredictors": {"smoothing": "http://other"}},
            "networkPolicy": {"enabled": False},
        },
        "gateway.extraPredictors names smoothing, which the chart installs itself",
    ),
    (
        {"predictors": {"public": True, "kind": "Deployment"}},
        "predictors.public needs predictors.kind InferenceService",
    ),
    (
        {"predictors": {"public": True}, "fullnameOverride": "n" * 36, "namespace": 30},
        "predictors.public needs shorter names",
    ),
    (
        _scaling(minReplicas=3, maxReplicas=2),
        "smoothing.autoscaling.maxReplicas 2 is less than minReplicas 3",
    ),
    (
        _scaling(mode="hpa", minReplicas=0),
        "smoothing.autoscaling.minReplicas 0 is not possible with mode hpa",
    ),
    (
        _scaling(mode="none", minReplicas=0),
        "smoothing.autoscaling.minReplicas 0 with mode none never starts a pod",
    ),
    (
        _scaling(mode="keda", minReplicas=0),
        "smoothing.autoscaling.minReplicas 0 needs keda.triggers of yours",
    ),
    (
        _scaling(mode="keda", keda={"triggers": [{"type": "cpu", "metadata": {"value": "9"}}]}),
        "smoothing.autoscaling.keda.triggers of type cpu are not possible with InferenceServices",
    ),
    (
        {"persistence": {"accessModes": ["ReadWriteOncePod"]}},
        "persistence.accessModes ReadWriteOncePod lets a single pod mount the claim",
    ),
    (
        {"persistence": {"accessModes": ["ReadWriteMany", "ReadWriteOncePod"]}},
        "persistence.accessModes ReadWriteOncePod lets",
    ),
    (
        {**ONE_NODE, **DATABASE, "gateway": {"replicas": 2}},
        "gateway.replicas above 1 need persistence.accessModes ReadWriteMany",
    ),
    ({"gateway": {"replicas": 2}}, "gateway.replicas above 1 need database.existingSecret"),
    (
        {"database": {"existingSecret": "s"}},
        "database.existingSecret needs networkPolicy.database.to",
    ),
    ({"webhooks": {"hosts": ["h"]}}, "webhooks.hosts needs webhooks.existingSecret"),
    (
        {
            "webhooks": {"hosts": ["h"], "existingSecret": "s"},
            "networkPolicy": {"webhooks": {"to": []}},
        },
        "webhooks.hosts needs networkPolicy.webhooks.to",
    ),
    (
        {"tracing": {"endpoint": "http://collector:4318"}},
        "tracing.endpoint needs networkPolicy.tracing.to",
    ),
    ({"tickets": {"limits": {"other": 1}}}, "tickets.limits names other"),
    (
        {"tickets": {"limits": {"nnunet": 1}}, "nnunet": {"enabled": False}},
        "tickets.limits names nnunet",
    ),
    (
        {"persistence": RWO},
        "smoothing.autoscaling allows 4 replicas, which needs persistence.accessModes",
    ),
    (
        {**ONE_NODE, "nnunet": {"autoscaling": {"mode": "none", "minReplicas": 2}}},
        "nnunet.autoscaling allows 2 replicas",
    ),
    (
        {**ONE_NODE, "postprocess": {"autoscaling": {"mode": "external", "maxReplicas": 3}}},
        "postprocess.autoscaling allows 3 replicas",
    ),
    (
        {**ONE_NODE, "postprocess": {"autoscaling": {"mode": "keda", "maxReplicas": 2}}},
        "postprocess.autoscaling allows 2 replicas",
    ),
)

ALLOWED: tuple[dict[str, Any], ...] = (
    {"auth": {"mode": "none"}},
    {"auth": {"mode": "none", "exposeWithoutToken": True}, "ingress": HOST},
    {"ingress": {"enabled": True, "host": "*"}},
    {"ingress": {**HOST, "tls": {"enabled": True, "secretName": "s"}}},
    {"monitoring": {"serviceMonitor": {"enabled": True}}, "networkPolicy": {"enabled": False}},
    {
        **_scaling(mode="keda", keda={"prometheusAddress": "http://prometheus:9090"}),
        "networkPolicy": {"scrapeFrom": [{"namespaceSelector": {}}]},
    },
    {"gateway": {"extraPredictors": {"other": "http://o"}}, "networkPolicy": {"enabled": False}},
    {
        "gateway": {"extraPredictors": {"smoothing": "http://o"}},
        "networkPolicy": {"enabled": False},
        "smoothing": {"enabled": False},
    },
    {"predictors": {"public": True}},
    _scaling(mode="keda", minReplicas=0, keda={"triggers": [TRIGGER]}),
    _scaling(mode="external", minReplicas=0),
    _scaling(mode="none", minReplicas=3, maxReplicas=1),
    ONE_NODE,
    {"persistence": RWO, "smoothing": {"enabled": False}, "postprocess": FIXED},
    {
        **DATABASE,
        "persistence": {"accessModes": ["ReadWriteOnce", "ReadWriteMany"]},
        "gateway": {"replicas": 2},
    },
    {**ONE_NODE, **DATABASE},
    {"database": {"existingSecret": "s"}, "networkPolicy": {"enabled": False}},
    {"webhooks": {"hosts": ["h"], "existingSecret": "s"}},
    {"tracing": {"endpoint": "http://collector:4318"}, "networkPolicy": {"enabled": False}},
    {"tickets": {"limits": {"nnunet": 3, "postprocess": 1}}},
)


@pytest.mark.parametrize(("given", "sentence"), REFUSED, ids=[s for _, s in REFUSED])
def test_it_is_refused_in_a_sentence(given: dict[str, Any], sentence: str) -> None:
    """Before anything is installed, with the values' names."""
    given = dict(given)
    namespace = "n" * given.pop("namespace", 8)
    with pytest.raises(Refused) as raised:
        render(given, namespace=namespace)
    assert sentence in str(raised.value)


@pytest.mark.parametrize("given", ALLOWED, ids=str)
def test_what_is_possible_is_not_refused(given: dict[str, Any]) -> None:
    """The neighbours of what is refused."""
    assert render(given)
