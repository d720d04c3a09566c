from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from nephra_contract.errors import Unauthorized
from nephra_gateway.auth import ANYONE, Caller, Forbidden, Tokens
from nephra_gateway.settings import GatewaySettings

DIGEST = hashlib.sha256(b"secret").hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()
ADMIN = Caller(DIGEST[:12], frozenset({"admin"}))


@pytest.mark.parametrize(
    "authorization", [None, "", "secret", "Basic secret", "Bearer", "Bearer  ", "Bearer\tsecret"]
)
def test_no_bearer_token_is_unauthorized(authorization: str | None) -> None:
    """Neither silence nor another scheme opens."""
    with pytest.raises(Unauthorized) as refused:
        Tokens({DIGEST: ADMIN}).check(authorization)
    assert refused.value.code == "unauthorized"


@pytest.mark.parametrize("token", ["Secret", "secre", "secrets", DIGEST, "sécret", "\udcff"])
def test_a_wrong_token_is_unauthorized(token: str) -> None:
    """The hash itself is no token either."""
    with pytest.raises(Unauthorized) as refused:
        Tokens({DIGEST: ADMIN}).check(f"Bearer {token}")
    assert refused.value.code == "token_unknown"


def test_a_known_token_opens() -> None:
    """The scheme's case does not matter; any token of several does."""
    tokens = Tokens({"0" * 64: Caller("nought", frozenset()), DIGEST: ADMIN})
    assert tokens.check("bearer secret") == ADMIN


def test_none_lets_everybody_in() -> None:
    """For tests on one's own machine."""
    assert Tokens.of(GatewaySettings(auth="none")).check(None) == ANYONE
    assert ANYONE.admin


def tokens_of(path: Path, content: str) -> Tokens:
    """What a file with this content opens."""
    path.write_text(content)
    return Tokens.of(GatewaySettings(tokens_file=path))


@pytest.mark.parametrize(
    ("line", "caller"),
    [
        (DIGEST, ADMIN),
        (f"{'0' * 64} {DIGEST}", ADMIN),
        (f"# of the clinic\n\n{DIGEST} pacs", Caller("pacs", frozenset({"run"}))),
        (f"{DIGEST} ward-3 read", Caller("ward-3", frozenset({"read"}))),
        (f"  {DIGEST}\tjane@x.org  read,run ", Caller("jane@x.org", frozenset({"read", "run"}))),
    ],
)
def test_a_line_names_a_token_and_its_scopes(tmp_path: Path, line: str, caller: Caller) -> None:
    """A bare digest may all; a named one what is said, or run."""
    assert tokens_of(tmp_path / "tokens", line).check("Bearer secret") == caller


@pytest.mark.parametrize(
    ("scopes", "may"),
    [
        ([], []),
        (["read"], ["read"]),
        (["run"], ["read", "run"]),
        (["admin"], ["read", "run", "admin"]),
        (["read", "admin"], ["read", "run", "admin"]),
    ],
)
def test_each_scope_holds_the_ones_before_it(scopes: list[Any], may: list[str]) -> None:
    """Who may run may read, and admins may both."""
    caller = Caller("x", frozenset(scopes))
    assert [level for level in ("read", "run", "admin") if caller.may(level)] == may
    assert caller.admin == ("admin" in may)
    if "run" not in may:
        with pytest.raises(Forbidden) as refused:
            caller.need("run")
        assert refused.value.code == "scope_missing"


def aged(path: Path, seconds: float) -> None:
    """Let a file have changed so long ago."""
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def test_the_file_is_read_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens come and go without a new start; a broken file changes nothing, and is said once."""
    monkeypatch.setattr("nephra_gateway.auth._LOOK_S", 0.0)
    said: list[str] = []
    monkeypatch.setattr("nephra_gateway.auth.logs.line", lambda *_, why: said.append(why))
    path = tmp_path / "tokens"
    tokens = tokens_of(path, DIGEST)
    aged(path, 100)
    assert tokens.check("Bearer secret")
    path.write_text(f"{OTHER} new read\n")
    assert tokens.check("Bearer other").name == "new"
    with pytest.raises(Unauthorized):
        tokens.check("Bearer secret")
    for broken in ("half a li", None):
        path.unlink() if broken is None else path.write_text(broken)
        assert tokens.check("Bearer other").name == "new"
        assert tokens.check("Bearer other").name == "new"
    assert len(said) == 2
    assert "half" not in "".join(said)
    path.write_text(DIGEST)
    assert tokens.check("Bearer secret") == ADMIN


@pytest.mark.parametrize(
    "content",
    [
        "",
        "# nobody\n",
        "secret\n",
        "0" * 63,
        f"{'0' * 64}\nplain\n",
        f"{DIGEST} read",
        f"{DIGEST} jane everything",
        f"{DIGEST} jane read, run",
        f"{DIGEST} ../x read",
        f"{DIGEST} jane read\n{DIGEST} jane admin",
    ],
)
def test_a_file_without_digests_keeps_the_gateway_down(tmp_path: Path, content: str) -> None:
    """Plain tokens in the file are a mistake that is found at start."""
    path = tmp_path / "tokens"
    path.write_text(content)
    with pytest.raises(ValueError, match="NEPHRA_TOKENS_FILE"):
        Tokens.of(GatewaySettings(tokens_file=path))


def test_bad_tokens_files_are_named_not_shown(tmp_path: Path) -> None:
    """The line that is wrong might be a token that somebody forgot to hash."""
    with pytest.raises(ValueError, match="line 1") as refused:
        tokens_of(tmp_path / "tokens", "my-plain-token\n")
    assert "my-plain" not in str(refused.value)


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
    answer = httpx.request(method, str(gateway.base_url).rstrip("/") + path, timeout=60)
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
        "caller": "anyone",
        "operation": "smoothing/base",
        "code": "file_not_found",
    }
