"""What a predictor says before its worker has loaded what it needs."""

from __future__ import annotations

import json
from typing import Any

import httpx

from nephra_contract.paths import DataRoot


def test_a_predictor_lives_before_it_is_ready(start: Any, data: DataRoot) -> None:
    """/healthz answers while models load; everything else is 503 until they are loaded."""
    go = data.root / "go"
    with start(until="listening", TOY_BUILD="wait", TOY_GO=str(go)) as (process, url):
        assert httpx.get(f"{url}/healthz", timeout=60).json() == {"status": "alive"}
        for answer in (
            httpx.get(f"{url}/readyz", timeout=60),
            httpx.get(f"{url}/v2/health/ready", timeout=60),
            httpx.get(f"{url}/operations", timeout=60),
            httpx.get(f"{url}/bundles", timeout=60),
            httpx.get(f"{url}/v1/models/keep", timeout=60),
            httpx.post(f"{url}/v1/models/keep:predict", json={"instances": [{}]}, timeout=60),
        ):
            assert answer.status_code == 503
            assert answer.json()["code"] == "model_not_ready"
            assert int(answer.headers["retry-after"]) > 0
            assert answer.headers["content-type"] == "application/problem+json"
        go.touch()
        said: list[dict[str, Any]] = []
        while "ready" not in [line["message"] for line in said]:
            said.append(json.loads(process.stderr.readline()))
        assert "/readyz" not in [line.get("path") for line in said]
        assert httpx.get(f"{url}/readyz", timeout=60).json() == {"ready": True}
        assert httpx.get(f"{url}/v1/models/keep", timeout=60).json()["ready"] is True
