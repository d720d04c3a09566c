"""Dashboard, alarms and KEDA's queries ask for metrics that exist."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from chart.helm import CHART
from chart.rendering import CI, ROOT, kinds, of_ci, render, values

_NAME = re.compile(r"\bnephra_[a-z_]+\b")
_SUFFIX = re.compile(r"_(bucket|sum|count)$")


def _documented() -> set[str]:
    text = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    return set(re.findall(r"^\| `(nephra_[a-z_]+)` \|", text, flags=re.MULTILINE))


def _asked(text: str) -> set[str]:
    return {_SUFFIX.sub("", name) for name in _NAME.findall(text)}


def _dashboard() -> Any:
    return json.loads((CHART / "files" / "dashboard.json").read_text(encoding="utf-8"))


def _expressions() -> dict[str, list[str]]:
    queries = [
        t["metadata"]["query"]
        for name in CI
        for o in kinds(of_ci(name), "ScaledObject")
        for t in o["spec"]["triggers"]
        if t["type"] == "prometheus"
    ]
    rules = [
        r["expr"]
        for o in kinds(of_ci("full"), "PrometheusRule")
        for g in o["spec"]["groups"]
        for r in g["rules"]
    ]
    panels = [t["expr"] for p in _dashboard()["panels"] for t in p["targets"]]
    variables = [v["query"] for v in _dashboard()["templating"]["list"]]
    return {"keda": queries, "alerts": rules, "dashboard": panels + variables}


@pytest.mark.parametrize("where", ["keda", "alerts", "dashboard"])
def test_every_metric_exists(where: str) -> None:
    """By the reference of metrics, whose names the services' own tests hold."""
    asked = {n for e in _expressions()[where] for n in _asked(e)}
    assert asked
    assert asked <= _documented()


def test_a_metric_that_does_not_exist_is_found() -> None:
    """The documented names are not simply everything."""
    assert not _asked("rate(nephra_requests_lost_total[5m])") <= _documented()
    assert len(_documented()) > 8


def test_every_metric_is_shown() -> None:
    """The dashboard leaves none of ours out."""
    assert _documented() == {n for e in _expressions()["dashboard"] for n in _asked(e)}


def test_expressions_are_balanced() -> None:
    """Brackets and braces close, also where a template has filled something in."""
    for expressions in _expressions().values():
        for expression in expressions:
            for opened, closed in ("()", "{}", "[]"):
                assert expression.count(opened) == expression.count(closed), expression
            assert expression.count('"') % 2 == 0, expression


def test_alarms_say_what_to_do() -> None:
    """A severity, a summary and a description each; the namespace is the release's."""
    for o in kinds(of_ci("full"), "PrometheusRule"):
        for rule in o["spec"]["groups"][0]["rules"]:
            assert rule["labels"]["severity"] in ("warning", "critical")
            assert set(rule["annotations"]) == {"summary", "description"}
            assert 'namespace="hospital"' in rule["expr"]


def test_a_predictor_that_sleeps_is_not_down() -> None:
    """One that may go to 0 pods alarms nobody."""
    given = values("keda")
    given["monitoring"]["prometheusRule"] = {"enabled": True}
    (rule,) = kinds(render(given), "PrometheusRule")
    down = rule["spec"]["groups"][0]["rules"][0]["expr"]
    assert down.endswith('_up{namespace="hospital",predictor!~"nnunet"}) == 0')
    (rule,) = kinds(of_ci("full"), "PrometheusRule")
    down = rule["spec"]["groups"][0]["rules"][0]["expr"]
    assert down.endswith('_up{namespace="hospital"}) == 0')


def test_panels_do_not_overlap() -> None:
    """Within the 24 columns of Grafana, each with an id of its own."""
    taken: set[tuple[int, int]] = set()
    panels = _dashboard()["panels"]
    assert len({p["id"] for p in panels}) == len(panels)
    for panel in panels:
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_the_dashboard_is_carried_as_it_is() -> None:
    """The ConfigMap's JSON is the file's, and Grafana's sidecar finds it."""
    objects = render({"monitoring": {"dashboard": {"enabled": True}}})
    (carried,) = kinds(objects, "ConfigMap")
    assert json.loads(carried["data"]["nephra.json"]) == _dashboard()
    assert carried["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_prometheus_finds_all_services() -> None:
    """The ServiceMonitor's selector and port are those of gateway and predictors."""
    for kind in ("InferenceService", "Deployment"):
        given = {
            "predictors": {"kind": kind},
            "monitoring": {"serviceMonitor": {"enabled": True}},
            "networkPolicy": {"enabled": False},
        }
        objects = render(given)
        (monitor,) = kinds(objects, "ServiceMonitor")
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        # KServe gives its Services an InferenceService's labels.
        found = [
            o
            for o in objects
            if o["kind"] in ("Service", "InferenceService")
            and wanted <= o["metadata"]["labels"].items()
        ]
        assert len(found) == 4
        for service in (o for o in found if o["kind"] == "Service"):
            assert "metrics" in {p["name"] for p in service["spec"]["ports"]}
