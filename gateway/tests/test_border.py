"""What every request passes: scopes, rates, headers, pages of other origins."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from nephra_gateway.settings import GatewaySettings

ORIGIN = "https://viewer.example"


def bearer(token: str) -> dict[str, str]:
    """The header of a token."""
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def url(
    start: Any, settings: GatewaySettings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A gateway for three tokens and one foreign origin, which lets each make 20 requests."""
    path = tmp_path_factory.mktemp("tokens") / "tokens"
    lines = (f"{hashlib.sha256(t.encode()).hexdigest()} {t} {t[3:]}" for t in TOKENS)
    path.write_text("\n".join(lines))
    changed = {
        "tokens_file": path,
        "rate_per_s": 1e-6,
        "rate_burst": 20,
        "cors_origins": (ORIGIN,),
    }
    with start(settings.model_copy(update=changed)) as url:
        yield url


TOKENS = ("x--read", "y--run", "z--admin")


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/cases"), ("POST", "/smoothing/base"), ("PUT", "/files/x"), ("DELETE", "/files/x")],
)
def test_who_may_read_may_not_change(url: str, method: str, path: str) -> None:
    """403 before anything is looked at; who may run gets further."""
    refused = httpx.request(method, url + path, headers=bearer("x--read"), content=b"{}")
    assert refused.status_code == 403
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["code"] == "scope_missing"
    assert refused.json()["scope"] == "run"
    assert httpx.request(method, url + path, headers=bearer("y--run")).status_code != 403


def test_who_may_read_may_look(url: str) -> None:
    """Each scope opens what is only looked at."""
    for token in TOKENS:
        assert httpx.get(f"{url}/labels", headers=bearer(token)).status_code == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["/", "/healthz", "/assets/index.js", "/docs"])
def test_what_is_open_is_open_to_look_at_alone(url: str, method: str, path: str) -> None:
    """Nobody has anything done without a token."""
    assert httpx.request(method, url + path).status_code == 401


def test_too_many_requests_are_put_off(start: Any, settings: GatewaySettings) -> None:
    """429 with Retry-After; probes and the page are not counted."""
    changed = {"auth": "none", "rate_per_s": 0.001, "rate_burst": 3}
    with start(settings.model_copy(update=changed)) as url:
        got = [httpx.get(f"{url}/labels") for _ in range(4)]
        assert [g.status_code for g in got] == [200, 200, 200, 429]
        assert 900 < int(got[-1].headers["retry-after"]) <= 1000
        assert got[-1].json()["code"] == "rate_limited"
        assert httpx.get(f"{url}/livez").status_code == 200


def test_pages_of_other_origins_are_told_nothing(gateway: httpx.Client) -> None:
    """Cross-origin sharing is off unless it is set."""
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"}
    for method in ("GET", "OPTIONS"):
        answer = gateway.request(method, "/labels", headers=asked)
        assert not [h for h in answer.headers if h.startswith("access-control")]


def test_pages_of_allowed_origins_may_ask(url: str) -> None:
    """Before they ask (without a token), when they get an answer, and when they are refused."""
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "authorization,content-range",
    }
    before = httpx.options(f"{url}/files/x", headers=asked)
    assert before.status_code == 200
    assert before.headers["access-control-allow-origin"] == ORIGIN
    assert "PUT" in before.headers["access-control-allow-methods"]
    for headers, status in ((bearer("z--admin"), 200), ({}, 401)):
        answer = httpx.get(f"{url}/labels", headers={**headers, "Origin": ORIGIN})
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "etag" in answer.headers["access-control-expose-headers"].lower()


def test_pages_of_any_other_origin_may_not(url: str) -> None:
    """One origin is not all of them."""
    asked = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "PUT"}
    assert httpx.options(f"{url}/files/x", headers=asked).status_code == 400
    answer = httpx.get(f"{url}/labels", headers={**bearer("z--admin"), "Origin": asked["Origin"]})
    assert "access-control-allow-origin" not in answer.headers


def test_every_answer_carries_security_headers(gateway: httpx.Client) -> None:
    """Nothing is sniffed, framed, cached, or shared, whatever the status."""
    for path, status in (("/labels", 200), ("/nowhere", 404), ("/docs", 200)):
        answer = gateway.get(path)
        assert answer.status_code == status
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
