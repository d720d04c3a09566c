"""`GET /cache` says what is held and how it has served."""

from __future__ import annotations

import httpx


def test_the_cache_can_be_looked_at(gateway: httpx.Client) -> None:
    """A result that is asked twice is one miss and one hit; bytes and seconds are counted."""
    body = {"image_path": "A.nii.gz"}
    before = gateway.get("/cache").raise_for_status().json()
    first = gateway.post("/inference/tumor", json=body)  # this client asks for fresh results
    second = gateway.post("/inference/tumor", json=body, headers={"Cache-Control": "max-age=9"})
    after = gateway.get("/cache").raise_for_status().json()
    assert first.headers["X-Nephra-Cache"] == "miss"
    assert second.headers["X-Nephra-Cache"] == "hit"
    assert second.json()["mask_path"] == first.json()["mask_path"]
    assert after["misses"] == before["misses"] + 1
    assert after["hits"] == before["hits"] + 1
    assert after["entries"] >= 1
    assert after["bytes"] > 0
    assert after["seconds_saved"] > before["seconds_saved"]
    assert (after["unused_s"], after["max_bytes"]) == (1800, 50 * 2**30)
