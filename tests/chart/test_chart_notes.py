"""What `helm install` prints fits how it was installed."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

import pytest

from chart import helm
from chart.rendering import CI, find, parse, render, texts, values


def _notes(given: dict[str, Any]) -> str:
    return texts(given)["nephra/templates/NOTES.txt"]


def test_port_forward_is_how_it_is_reached_by_default() -> None:
    """Of the Service that is there, with the token that is there."""
    said = _notes({})
    assert "port-forward service/nephra-gateway 8000:80" in said
    assert "get secret nephra-tokens" in said
    assert 'curl -H "Authorization: Bearer $NEPHRA_TOKEN" $NEPHRA_URL/operations' in said
    assert "inferenceservice" in said
    assert "WARNING" not in said
    assert "helm's own --wait may never end" in said
    assert "--wait" not in _notes({"predictors": {"kind": "Deployment"}})
    names = {(o["kind"], o["metadata"]["name"]) for o in render()}
    assert {("Service", "nephra-gateway"), ("Secret", "nephra-tokens")} <= names


def test_an_ingress_is_named() -> None:
    """By its host, with https where it has a certificate."""
    assert "NEPHRA_URL=http://nephra.example.org" in _notes(values("ingress"))
    assert "NEPHRA_URL=https://nephra.example.org" in _notes(values("full"))
    assert "port-forward" not in _notes(values("ingress"))
    said = _notes({"ingress": {"enabled": True, "host": "*"}})
    assert "NEPHRA_URL=http://ADDRESS-OF-YOUR-INGRESS" in said


def test_a_gateway_is_named() -> None:
    """By its first host name, if it has one."""
    given = values("gateway-api")
    assert "NEPHRA_URL=http://nephra.example.org" in _notes(given)
    del given["httpRoute"]["hostnames"]
    assert "NEPHRA_URL=http://ADDRESS-OF-YOUR-GATEWAY" in _notes(given)


def test_a_secret_of_yours_is_named() -> None:
    """The chart does not know its token."""
    said = _notes(values("airgapped"))
    assert "SHA-256 stands in the Secret nephra-hashes" in said
    assert "base64 -d" not in said


def test_only_what_is_there_is_waited_for() -> None:
    """Somebody else's predictors are named; no InferenceService is waited for where none is."""
    none = {name: {"enabled": False} for name in ("nnunet", "smoothing", "postprocess")}
    others = {"extraPredictors": {"registration": "http://registration.elsewhere"}}
    open_way = {"networkPolicy": {"enabled": False}}
    assert "a gateway and no predictor." in _notes(dict(none))
    said = _notes({**none, **open_way, "gateway": others})
    assert "a gateway and registration." in said
    assert "inferenceservice" not in said


def test_what_is_dangerous_is_said() -> None:
    """In a warning each."""
    open_to_all = _notes({"auth": {"mode": "none"}})
    assert "auth.mode is none" in open_to_all
    assert "Bearer" not in open_to_all
    assert "predictors.public is set" in _notes(values("full"))
    assert "networkPolicy.enabled is false" in _notes({"networkPolicy": {"enabled": False}})
    assert "all pods run on the node of the first one" in _notes(values("minimal"))


@pytest.mark.parametrize("name", CI)
def test_no_placeholder_stays(name: str) -> None:
    """Nothing that a template forgot."""
    assert not re.search(r"<no value>|%!|nil|map\[", _notes(values(name)))


def test_the_token_and_its_hash_belong_together() -> None:
    """The gateway mounts the hash alone; the token is another one each time."""
    secret = "nephra/templates/tokens.yaml"
    made = [parse(helm.render({}, "nephra", "default")[secret])[0]["data"] for _ in range(2)]
    for data in made:
        token = base64.b64decode(data["token"])
        assert len(token) == 48
        digest = hashlib.sha256(token).hexdigest()
        assert base64.b64decode(data["tokens"]).decode() == f"{digest}\n"
    assert made[0]["token"] != made[1]["token"]
    gateway = find(render(), "Deployment", "nephra-gateway")["spec"]["template"]["spec"]
    (volume,) = (v for v in gateway["volumes"] if v["name"] == "tokens")
    assert [i["key"] for i in volume["secret"]["items"]] == ["tokens"]
