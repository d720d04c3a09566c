from __future__ import annotations

import httpx

from nephra_contract.labels import table


def test_labels_are_the_table(gateway: httpx.Client) -> None:
    """Every structure with number, group and colour."""
    labels = gateway.get("/labels").json()
    assert len(labels) == len(table())
    assert labels["tumor"]["number"] == 201
    assert labels["tumor"]["group"] == "tumor"
    assert len(labels["tumor"]["rgba"]) == 4


def test_operations_and_bundles_are_the_predictors(gateway: httpx.Client) -> None:
    """What they offer, with the schema of each request."""
    operations = {o["name"]: o for o in gateway.get("/operations").json()}
    assert {"inference", "inference/tumor", "postprocess/fat", "smoothing/base"} <= set(operations)
    assert operations["smoothing/base"]["predictor"] == "smoothing"
    assert "mask_path" in operations["smoothing/base"]["request_schema"]["properties"]
    assert [b["name"] for b in gateway.get("/bundles").json()] == ["toy"]


def test_health_and_readiness(gateway: httpx.Client) -> None:
    """With all predictors up, both are good."""
    assert gateway.get("/healthz").json() == {"status": "alive"}
    assert gateway.get("/readyz").json() == {"status": "ready"}


def test_unknown_addresses_are_problems(gateway: httpx.Client) -> None:
    """GET of nothing is 404 in our form."""
    answer = gateway.get("/nowhere")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "not_found"


def test_answers_carry_security_headers(gateway: httpx.Client) -> None:
    """Nothing is sniffed, framed, cached, or loaded from elsewhere."""
    headers = gateway.get("/docs").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "server" not in headers or headers["server"] == "uvicorn"


def test_the_documentation_is_whole_in_itself(gateway: httpx.Client) -> None:
    """It shows every operation with its members, and names no other host."""
    page = gateway.get("/docs").text
    for shown in ("/cases", "/smoothing/base", "/inference/tumor", "mask_path", "phases", "curl"):
        assert shown in page
    assert "<script" not in page
    assert "http://" not in page
    assert "https://" not in page
