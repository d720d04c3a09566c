"""Who can reach whom, reckoned from the NetworkPolicies as a network would."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from chart.rendering import NAMESPACE, Object, find, kinds, pods, render

_COMPONENT = "app.kubernetes.io/component"


@dataclass(frozen=True)
class End:
    """One end of a connection.

    Args:
        name: what the tests call it.
        namespace: where it is.
        labels: of the pod.
    """

    name: str
    namespace: str
    labels: Mapping[str, str]


STRANGER = End("stranger", NAMESPACE, {})
FOREIGNER = End("foreigner", "elsewhere", {_COMPONENT: "gateway"})
DNS = End("dns", "kube-system", {"k8s-app": "kube-dns"})
PROMETHEUS = End("prometheus", "monitoring", {})
POSTGRES = End("postgres", "databases", {"role": "primary"})


PORTS = (53, 443, 4318, 5432, 8080, 9090)


def _ends(objects: list[Object]) -> list[End]:
    ours = [End(p.labels[_COMPONENT], NAMESPACE, p.labels) for p in pods(objects)]
    return [*ours, STRANGER, FOREIGNER, DNS, PROMETHEUS, POSTGRES]


def _selects(selector: Object, labels: Mapping[str, str]) -> bool:
    asked = selector.get("matchExpressions", ())
    assert all(e["operator"] == "In" for e in asked)
    return all(labels.get(k) == v for k, v in selector.get("matchLabels", {}).items()) and all(
        labels.get(e["key"]) in e["values"] for e in asked
    )


def _is_meant(peer: Object, end: End) -> bool:
    if "ipBlock" in peer:  # no pod has such an address
        return False
    namespace = {"kubernetes.io/metadata.name": end.namespace}
    if "namespaceSelector" not in peer and end.namespace != NAMESPACE:
        return False
    return _selects(peer.get("namespaceSelector", {}), namespace) and _selects(
        peer.get("podSelector", {}), end.labels
    )


def _lets(policies: list[Object], way: str, of: End, other: End, port: int) -> bool:
    """Whether the policies of one end let a connection with another pass."""
    rules, side = ("ingress", "from") if way == "Ingress" else ("egress", "to")
    mine = [
        p["spec"]
        for p in policies
        if of.namespace == NAMESPACE
        and way in p["spec"]["policyTypes"]
        and _selects(p["spec"]["podSelector"], of.labels)
    ]
    return not mine or any(
        ("ports" not in rule or port in {p["port"] for p in rule["ports"]})
        and (side not in rule or any(_is_meant(peer, other) for peer in rule[side]))
        for spec in mine
        for rule in spec.get(rules, ())
    )


def _arrows(given: Mapping[str, Any]) -> Iterator[str]:
    """All connections that are possible, but those among strangers."""
    objects = render(given)
    policies, ends = kinds(objects, "NetworkPolicy"), _ends(objects)
    ours = {p.labels[_COMPONENT] for p in pods(objects)}
    for one in ends:
        for other in ends:
            for port in PORTS:
                if (
                    {one.name, other.name} & ours
                    and one != other
                    and _lets(policies, "Egress", one, other, port)
                    and _lets(policies, "Ingress", other, one, port)
                ):
                    yield f"{one.name} → {other.name}:{port}"


NEEDED = {
    "gateway → nnunet:8080",
    "gateway → smoothing:8080",
    "gateway → postprocess:8080",
    "gateway → dns:53",
    "test → dns:53",
    "test → gateway:8080",
}
EVERYBODY = {
    f"{who} → gateway:8080" for who in ("stranger", "foreigner", "dns", "prometheus", "postgres")
}
WEBHOOKS = {"webhooks": {"hosts": ["his.example.org"], "existingSecret": "s"}}
MONITORING = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}


@pytest.mark.parametrize("kind", ["InferenceService", "Deployment"])
def test_only_the_arrows_that_are_needed_are_open(kind: str) -> None:
    """Callers reach the gateway, it reaches the predictors; they reach nobody."""
    assert set(_arrows({"predictors": {"kind": kind}})) == NEEDED | EVERYBODY


def test_a_named_caller_is_the_only_one() -> None:
    """And nobody at all where the list is empty; the test always may."""
    foreign = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "elsewhere"}}}
    given: dict[str, Any] = {"networkPolicy": {"gatewayFrom": [foreign]}}
    assert set(_arrows(given)) == NEEDED | {"foreigner → gateway:8080"}
    assert set(_arrows({"networkPolicy": {"gatewayFrom": []}})) == NEEDED


def test_public_predictors_are_reached_by_the_same_callers() -> None:
    """Through KServe's ingress, which then has to be among them."""
    given = {"predictors": {"public": True}, "networkPolicy": {"gatewayFrom": [MONITORING]}}
    came = {a for a in _arrows(given) if a.startswith("prometheus")}
    servers = ("gateway", "nnunet", "smoothing", "postprocess")
    assert came == {f"prometheus → {server}:8080" for server in servers}


def test_metrics_are_scraped_of_all_by_those_named() -> None:
    """On their own port, where no token is asked for."""
    given = {"networkPolicy": {"scrapeFrom": [MONITORING]}}
    components = ("gateway", "nnunet", "smoothing", "postprocess", "test")
    scraped = {f"prometheus → {component}:9090" for component in components}
    assert set(_arrows(given)) == NEEDED | EVERYBODY | scraped


def test_the_gateway_and_its_migration_reach_the_database() -> None:
    """At its port, and where it runs; nobody else does."""
    peer = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "databases"}},
        "podSelector": {"matchLabels": {"role": "primary"}},
    }
    given: dict[str, Any] = {
        "database": {"existingSecret": "s"},
        "networkPolicy": {"database": {"to": [peer]}},
    }
    more = {"gateway → postgres:5432", "migration → postgres:5432", "migration → dns:53"}
    assert set(_arrows(given)) == NEEDED | EVERYBODY | more
    given["networkPolicy"]["database"]["port"] = 443
    assert {a for a in _arrows(given) if a.startswith("migration")} == {
        "migration → postgres:443",
        "migration → dns:53",
    }


def test_who_is_traced_reaches_the_collector() -> None:
    """Gateway and predictors, which have to find it by its name."""
    given = {
        "tracing": {"endpoint": "http://collector.monitoring:4318"},
        "networkPolicy": {"tracing": {"to": [MONITORING]}},
    }
    servers = ("gateway", "nnunet", "smoothing", "postprocess")
    more = {f"{s} → {to}" for s in servers for to in ("prometheus:4318", "dns:53")}
    assert set(_arrows(given)) == NEEDED | EVERYBODY | more


def test_webhooks_lead_out_of_the_cluster_alone() -> None:
    """By default to public addresses; the way is there only where hosts are named."""
    policy = find(render(WEBHOOKS), "NetworkPolicy", "nephra-gateway")
    (block,) = [r for r in policy["spec"]["egress"] if "ipBlock" in r["to"][0]][-1]["to"]
    closed = [ipaddress.ip_network(c) for c in block["ipBlock"]["except"]]
    for address in ("10.1.2.3", "192.168.0.1", "169.254.169.254", "127.0.0.1", "100.64.0.1"):
        assert any(ipaddress.ip_address(address) in network for network in closed), address
    assert not any(ipaddress.ip_address("203.0.113.9") in network for network in closed)
    policy = find(render(), "NetworkPolicy", "nephra-gateway")
    assert "0.0.0.0/0" not in str(policy)


def test_another_release_is_a_stranger() -> None:
    """Its gateway has the labels of ours, but for the instance."""
    objects = render()
    policies = kinds(objects, "NetworkPolicy")
    ours = {p.labels[_COMPONENT]: p.labels for p in pods(objects)}
    other = {**ours["gateway"], "app.kubernetes.io/instance": "other"}
    stranger = End("other", NAMESPACE, other)
    assert not _lets(policies, "Ingress", End("", NAMESPACE, ours["nnunet"]), stranger, 8080)


def test_the_reckoning_sees_what_is_open() -> None:
    """Without policies everything is; the tests above would then fail."""
    found = set(_arrows({"networkPolicy": {"enabled": False}}))
    assert "foreigner → nnunet:8080" in found
    assert "nnunet → stranger:443" in found
