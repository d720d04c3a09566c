"""The values are closed, typed, and described."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from chart import helm
from chart.helm import CHART, Refused
from chart.rendering import CI, texts, values
from chart.schema import Path, at, is_closed, keys, resolved, schema

WHOLE = schema()
DEFAULTS = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
#: Where Kubernetes' own objects are passed through, or names are the user's.
OPEN = {
    "definitions.affinity.nodeAffinity",
    "definitions.affinity.podAffinity",
    "definitions.affinity.podAntiAffinity",
    "definitions.amounts",
    "definitions.env.valueFrom.configMapKeyRef",
    "definitions.env.valueFrom.fieldRef",
    "definitions.env.valueFrom.resourceFieldRef",
    "definitions.env.valueFrom.secretKeyRef",
    "definitions.labels",
    "definitions.stringMap",
    "definitions.volume",
    "extraObjects",
    "gateway.extraPredictors",
    "tickets.limits",
}


def _refused(given: Any) -> bool:
    try:
        helm.validate(given)
    except Refused:
        return True
    return False


def _parts(part: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema within a schema, without following references."""
    yield path, part
    for key, inner in part.get("properties", {}).items():
        if isinstance(inner, dict):
            yield from _parts(inner, f"{path}.{key}".lstrip("."))
    if isinstance(part.get("items"), dict):
        yield from _parts(part["items"], path)


def _all_parts() -> Iterator[tuple[str, dict[str, Any]]]:
    yield from _parts({k: v for k, v in WHOLE.items() if k != "definitions"}, "")
    for name, part in WHOLE["definitions"].items():
        yield from _parts(part, f"definitions.{name}")


def test_only_what_is_kubernetes_own_is_open() -> None:
    """Every other object in the schema is closed."""
    objects = {p: s for p, s in _all_parts() if "object" in str(s.get("type"))}
    assert {p for p, s in objects.items() if not is_closed(s)} == OPEN


def test_every_value_is_described_in_a_sentence() -> None:
    """Definitions too; each begins with a capital letter and ends with a full stop."""
    for path, part in _all_parts():
        for key, inner in part.get("properties", {}).items():
            if inner is False:
                continue
            said = inner.get("description", "")
            assert said[:1].isupper(), (path, key, said)
            assert said.endswith("."), (path, key, said)


def test_schema_and_defaults_name_the_same_values() -> None:
    """A value without a default, or a default that nobody described, would be forgotten."""

    def compare(part: dict[str, Any], value: Any, path: str) -> None:
        named = part.get("properties")
        if "$ref" in part or named is None or not isinstance(value, dict):
            return
        assert list(named) == list(value), path
        for key in named:
            compare(named[key], value[key], f"{path}.{key}")

    compare(WHOLE, DEFAULTS, "")


def _comments() -> Iterator[tuple[tuple[str, ...], str]]:
    """The comment above each key of values.yaml, by the key's path."""
    path: list[tuple[int, str]] = []
    said: list[str] = []
    for line in (CHART / "values.yaml").read_text(encoding="utf-8").splitlines():
        text = line.strip()
        indent = len(line) - len(line.lstrip())
        if text.startswith("#"):
            said.append(text.lstrip("# "))
        elif text and not text.startswith("-"):
            path = [p for p in path if p[0] < indent] + [(indent, text.partition(":")[0])]
            yield tuple(p[1] for p in path), " ".join(said)
            said = []
        else:
            said = []


def test_comments_are_the_descriptions() -> None:
    """values.yaml and the schema say the same of every value."""
    commented = dict(_comments())

    def compare(part: dict[str, Any], path: tuple[str, ...]) -> int:
        seen = 0
        for key, inner in part.get("properties", {}).items():
            assert commented[(*path, key)] == inner["description"], (*path, key)
            seen += 1 + compare(inner, (*path, key))
        return seen

    assert compare(WHOLE, ()) > 200


def _misspelt(given: Any, path: Path) -> Any:
    wrong = copy.deepcopy(given)
    parent = at(wrong, path[:-1])
    parent[f"{path[-1]}s"] = parent.pop(path[-1])
    return wrong


@pytest.mark.parametrize("name", ["defaults", *CI])
def test_a_typo_anywhere_is_refused(name: str) -> None:
    """Each key of each example in turn, at every depth, but in objects that are open."""
    given = DEFAULTS if name == "defaults" else values(name)
    found = list(keys(given, WHOLE, WHOLE))
    assert found
    for path, closed in found:
        if closed:
            assert _refused(_misspelt(given, path)), path


def test_a_value_of_the_wrong_kind_is_refused() -> None:
    """Each default in turn, replaced by something that it can never be."""
    for path, _ in keys(DEFAULTS, WHOLE, WHOLE):
        if at(DEFAULTS, path[:-1]) and all(isinstance(p, str) for p in path):
            wrong = copy.deepcopy(DEFAULTS)
            at(wrong, path[:-1])[path[-1]] = [[1]]
            assert _refused(wrong), path


@pytest.mark.parametrize("name", CI)
def test_examples_are_valid(name: str) -> None:
    """And so are the defaults."""
    helm.validate(values(name))
    helm.validate({})


@pytest.mark.parametrize(
    "given",
    [
        {"gateway": {"image": {"tag": "latest"}}},
        {"gateway": {"image": {"digest": "0.1.0"}}},
        {"gateway": {"image": {"pullPolicy": "Sometimes"}}},
        {"gateway": {"replicas": 0}},
        {"gateway": {"resources": {"limits": {"cpu": None}}}},
        {"gateway": {"extraEnv": [{"name": "PYTHONPATH", "value": "/x"}]}},
        {"gateway": {"extraVolumes": [{"name": "host", "hostPath": {"path": "/"}}]}},
        {"gateway": {"extraVolumes": [{"name": "data", "emptyDir": {}}]}},
        {"gateway": {"podLabels": {"app.kubernetes.io/component": "nnunet"}}},
        {"commonLabels": {"app.kubernetes.io/name": "other"}},
        {"nnunet": {"bundles": []}},
        {"nnunet": {"bundles": [{"demo": False}]}},
        {"nnunet": {"bundles": [{"demo": True, "claim": {"name": "models"}}]}},
        {"nnunet": {"bundles": [{"claim": {"name": "models", "path": "../other"}}]}},
        {"nnunet": {"bundles": [{"claim": {"name": "models", "path": "/absolute"}}]}},
        {"nnunet": {"bundles": [{"image": {"reference": "models", "path": "/b"}}]}},
        {"nnunet": {"bundles": [{"image": {"reference": "models:latest", "path": "/b"}}]}},
        {"nnunet": {"gpu": {"count": 0}}},
        {"smoothing": {"autoscaling": {"mode": "vpa"}}},
        {"persistence": {"size": "much"}},
        {"persistence": {"accessModes": []}},
        {"httpRoute": {"timeout": "forever"}},
        {"predictors": {"kind": "Pod"}},
        {"networkPolicy": {"gatewayFrom": [{}]}},
    ],
    ids=json.dumps,
)
def test_what_cannot_be_is_refused(given: Any) -> None:
    """Before a template sees it."""
    assert _refused(given)


def test_definitions_are_all_used() -> None:
    """No definition that nothing refers to."""
    text = json.dumps(WHOLE)
    for name in WHOLE["definitions"]:
        assert f'"#/definitions/{name}"' in text, name
        assert resolved({"$ref": f"#/definitions/{name}"}, WHOLE)


def _leaves(part: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, inner in part.get("properties", {}).items():
        yield from _leaves(inner, (*path, key)) if inner.get("properties") else [(*path, key)]


def _templates() -> str:
    folder = CHART / "templates"
    return "\n".join(p.read_text(encoding="utf-8") for p in folder.rglob("*") if p.is_file())


def test_templates_ask_for_no_other_values() -> None:
    """What a template reads by its whole path is described."""
    asked = set(re.findall(r"\.Values((?:\.[a-zA-Z]+)+)", _templates()))
    assert len(asked) > 30
    for dotted in asked:
        part = WHOLE
        for key in dotted.strip(".").split("."):
            part = part["properties"][key]


def test_every_value_is_read_by_some_template() -> None:
    """A value without an effect would be a promise that is not kept."""
    text = _templates()
    for path in _leaves(WHOLE):
        assert re.search(rf"\.{path[-1]}\b", text), path


def test_every_value_of_a_component_has_an_effect() -> None:
    """All components have the same ones; each changes what is rendered when it changes."""
    changes: dict[str, Any] = {
        "resources": {"limits": {"cpu": "7"}},
        "drainSeconds": 7,
        "tmpSize": "7Gi",
        "concurrency": 7,
        "startupSeconds": 70,
        "timeoutSeconds": 77,
        "priorityClassName": "high",
        "podDisruptionBudget": {"enabled": False},
    }
    for component in ("gateway", "nnunet", "smoothing", "postprocess"):
        for key, value in changes.items():
            if key in DEFAULTS[component]:
                # Without the token, which is another one each time.
                given = {"auth": {"existingSecret": "s"}, component: {key: value}}
                assert texts(given) != texts({"auth": given["auth"]}), (component, key)
