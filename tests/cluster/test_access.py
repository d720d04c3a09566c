"""The end-to-end tests, through each way in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from cluster.kube import answers, until
from cluster.release import Release

ROOT = Path(__file__).resolve().parents[2]
#: What a way in could break: its requests, answers and streams as the README has them.
QUICK = ("test_readme.py",)
#: They kill processes of this machine, and fill its disk.
LOCAL = ("--ignore=tests/e2e/test_crashes.py", "--ignore=tests/e2e/test_full_disk.py")
TRAEFIK = [{"name": "traefik", "namespace": "traefik"}]


@contextmanager
def _way(release: Release, name: str) -> Iterator[str]:
    """The gateway's URL by a way in that is open for the block."""
    if name == "ingress":
        yield release.cluster.ingress
    elif name == "port-forward":
        with release.cluster.forward(release.namespace, f"service/{release.name}-gateway", 80) as u:
            yield u
    else:
        release.upgrade(
            ingress__enabled=False, httpRoute__enabled=True, httpRoute__parentRefs=TRAEFIK
        )
        try:
            release.wait_until_served(release.cluster.ingress)
            yield release.cluster.ingress
        finally:
            release.upgrade()
            release.wait_until_served(release.cluster.ingress)


@pytest.mark.parametrize("way", ["ingress", "HTTPRoute", "port-forward"])
def test_the_same_tests_pass_as_on_a_laptop(release: Release, way: str) -> None:
    """Every file of tests/e2e; those with real patients by the ingress alone.

    With NEPHRA_QUICK no real patients, and the other two ways are shown what the README promises.
    """
    files = [f"tests/e2e/{name}" for name in ("", *QUICK)]
    quick, main = "NEPHRA_QUICK" in os.environ, way == "ingress"
    selected = files[1:] if quick and not main else files[:1]
    marked = "e2e" if main and not quick else "e2e and not real_data"
    with _way(release, way) as url:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *selected, *LOCAL, "-q", "-m", marked],
            cwd=ROOT,
            env={
                **os.environ,
                "NEPHRA_URL": url,
                "NEPHRA_TOKEN": release.token,
                "NEPHRA_DATA": str(release.data),
            },
            umask=0,  # the pods are another user, and write beside what the tests write
            capture_output=True,
            text=True,
            check=False,
        )
    sys.stderr.write(f"{way}: {done.stdout.strip().splitlines()[-1]}\n")
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]


def test_short_streams_arrive_whole(release: Release, small: dict[str, str]) -> None:
    """A proxy in Go cuts an answer that begins before it has seen the end of the request."""
    url = f"{release.cluster.ingress}/postprocess/ureter"
    headers = {**release.headers, "Accept": "application/x-ndjson"}

    def last_line(_: int) -> str:
        request = {"mask_path": small["mask"]}
        with httpx.stream("POST", url, json=request, headers=headers, timeout=120) as answer:
            event: str = json.loads(list(answer.iter_lines())[-1])["event"]
        return event

    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(last_line, range(240))) == {"result"}


def test_a_host_name_keeps_others_out(release: Release) -> None:
    """An ingress with a host answers for that host alone."""
    release.upgrade(ingress__host="nephra.test")
    try:
        url = f"{release.cluster.ingress}/healthz"
        named = {"Host": "nephra.test"}
        until(lambda: answers(url, named), 30, "the host is served")
        until(lambda: answers(url, {"Host": "other.test"}, 404), 30, "another host is not")
    finally:
        release.upgrade()
        release.wait_until_served(release.cluster.ingress)


def test_without_a_token_nothing_is_answered(release: Release) -> None:
    """From outside, operations and information alike."""
    for path in ("operations", "labels", "bundles"):
        answer = httpx.get(f"{release.cluster.ingress}/{path}", timeout=30)
        assert answer.status_code == 401, path
        assert answer.headers["content-type"] == "application/problem+json"
