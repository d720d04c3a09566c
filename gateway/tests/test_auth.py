from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from nephra_contract.errors import Unauthorized
from nephra_gateway.auth import Tokens
from nephra_gateway.settings import GatewaySettings

DIGEST = hashlib.sha256(b"secret").hexdigest()


@pytest.mark.parametrize(
    "authorization", [None, "", "secret", "Basic secret", "Bearer", "Bearer  ", "Bearer\tsecret"]
)
def test_no_bearer_token_is_unauthorized(authorization: str | None) -> None:
    """Neither silence nor another scheme opens."""
    with pytest.raises(Unauthorized) as refused:
        Tokens((DIGEST,)).check(authorization)
    assert refused.value.code == "unauthorized"


@pytest.mark.parametrize("token", ["Secret", "secre", "secrets", DIGEST, "sécret", "\udcff"])
def test_a_wrong_token_is_unauthorized(token: str) -> None:
    """The hash itself is no token either."""
    with pytest.raises(Unauthorized) as refused:
        Tokens((DIGEST,)).check(f"Bearer {token}")
    assert refused.value.code == "token_unknown"


def test_a_known_token_opens() -> None:
    """The scheme's case does not matter; any token of several does."""
    Tokens(("0" * 64, DIGEST)).check("bearer secret")


def test_none_lets_everybody_in() -> None:
    """For tests on one's own machine."""
    Tokens.of(GatewaySettings(auth="none")).check(None)


@pytest.mark.parametrize("content", ["", "secret\n", "0" * 63, f"{'0' * 64}\nplain\n"])
def test_a_file_without_digests_keeps_the_gateway_down(tmp_path: Path, content: str) -> None:
    """Plain tokens in the file are a mistake that is found at start."""
    path = tmp_path / "tokens"
    path.write_text(content)
    with pytest.raises(ValueError, match="NEPHRA_TOKENS_FILE"):
        Tokens.of(GatewaySettings(tokens_file=path))


def test_no_file_keeps_the_gateway_down(tmp_path: Path) -> None:
    """A gateway that forgot its tokens does not let everybody in."""
    for path in (None, tmp_path / "gone"):
        with pytest.raises(ValueError, match="NEPHRA_TOKENS_FILE"):
            Tokens.of(GatewaySettings(tokens_file=path))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/labels"),
        ("GET", "/operations"),
        ("GET", "/bundles"),
        ("GET", "/nowhere"),
        ("POST", "/cases"),
        ("POST", "/smoothing/base"),
        ("OPTIONS", "/cases"),
        ("GET", "//healthz"),
        ("GET", "/healthz/../labels"),
    ],
)
def test_everything_needs_a_token(gateway: httpx.Client, method: str, path: str) -> None:
    """Without one nothing is told, not even what exists."""
    with httpx.Client(base_url=gateway.base_url, timeout=60) as stranger:
        answer = stranger.request(method, path)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'Bearer realm="nephra"'
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "unauthorized"


def test_a_wrong_token_is_said_to_be_wrong(gateway: httpx.Client) -> None:
    """As RFC 6750 has it."""
    answer = gateway.get("/labels", headers={"Authorization": "Bearer nonsense"})
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/docs", "/openapi.json"])
def test_health_and_documentation_are_open(gateway: httpx.Client, path: str) -> None:
    """Probes have no tokens; the documentation names no patient."""
    with httpx.Client(base_url=gateway.base_url, timeout=60) as stranger:
        assert stranger.get(path).status_code == 200


def test_the_log_has_one_line_and_no_token(
    start: Any, settings: GatewaySettings, caplog: pytest.LogCaptureFixture
) -> None:
    """Method, path, status, time, operation, ticket."""
    caplog.set_level("INFO", logger="nephra")
    with start(settings.model_copy(update={"auth": "none"})) as url:
        body = {"mask_path": "gone.nii.gz"}
        assert httpx.post(f"{url}/smoothing/base", json=body, timeout=60).status_code == 404
    lines = [vars(r)["nephra_members"] for r in caplog.records if r.getMessage() == "request"]
    (line,) = [m for m in lines if m["path"] == "/smoothing/base"]
    assert line.pop("duration_ms") > 0
    assert len(line.pop("ticket")) == 32
    assert line == {
        "method": "POST",
        "path": "/smoothing/base",
        "status": 404,
        "operation": "smoothing/base",
        "code": "file_not_found",
    }
