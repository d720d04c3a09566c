"""What is written from the chart is what the chart says."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from chart.rendering import ROOT, parse
from chart.schemas import NEWEST, OLDEST, wrongs
from chart.written import WRITTEN

MANIFESTS = [p for p in WRITTEN if p.parent.name == "manifests"]


@pytest.mark.parametrize("path", WRITTEN, ids=lambda p: p.name)
def test_it_is_up_to_date(path: Path) -> None:
    """`make manifests` writes it anew."""
    assert path.read_text(encoding="utf-8") == WRITTEN[path]()


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda p: p.name)
def test_manifests_are_valid_and_no_helm_is_in_them(path: Path) -> None:
    """Kubectl alone applies them; no token, hook or label of Helm's is among them."""
    text = path.read_text(encoding="utf-8")
    objects = parse(text)
    assert len(objects) > 10
    assert "helm" not in text.partition("---")[2].lower()
    assert not [o for o in objects if o["kind"] in ("Secret", "Pod")]
    for o in objects:
        for version in (OLDEST, NEWEST):
            assert wrongs(o, version) == [], o["metadata"]["name"]


def test_manifests_need_no_kserve_where_they_say_so() -> None:
    """One of Kubernetes' own kinds alone, one of InferenceServices."""
    kinds = {p.name: {o["kind"] for o in parse(p.read_text(encoding="utf-8"))} for p in MANIFESTS}
    assert "InferenceService" not in kinds["plain.yaml"]
    assert "InferenceService" in kinds["kserve.yaml"]


def test_the_namespace_is_restricted() -> None:
    """It is the one that the manifests name."""
    (namespace,) = parse((ROOT / "manifests" / "namespace.yaml").read_text(encoding="utf-8"))
    assert wrongs(namespace, NEWEST) == []
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for path in MANIFESTS:
        objects = parse(path.read_text(encoding="utf-8"))
        assert {o["metadata"]["namespace"] for o in objects} == {namespace["metadata"]["name"]}


def test_kind_has_one_node() -> None:
    """And listens on loopback alone, at the ports that its page tells an ingress controller."""
    config = yaml.safe_load((ROOT / "manifests" / "kind-config.yaml").read_text(encoding="utf-8"))
    (node,) = config["nodes"]
    assert {p["listenAddress"] for p in node["extraPortMappings"]} == {"127.0.0.1"}
    page = (ROOT / "docs" / "how-to" / "kind.md").read_text(encoding="utf-8")
    for ports in node["extraPortMappings"]:
        assert f"nodePort={ports['containerPort']}" in page
    assert f"http://127.0.0.1:{node['extraPortMappings'][0]['hostPort']}/" in page
