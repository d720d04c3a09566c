"""Images are built once for one content, by whatever builder there is, and measured."""

from __future__ import annotations

import json
import shlex
import stat
from pathlib import Path

import pytest
from images.context import NAMES, content_hash

from images import build, store

BUILDER = """#!/usr/bin/env bash
echo "$*" >> {log}
"""
LAYERS = [
    {"id": "debian", "diff-size": 70_000_000},
    {"id": "python", "parent": "debian", "diff-size": 80_000_000},
    {"id": "libraries", "parent": "python", "diff-size": 74_000_000},
    {"id": "code", "parent": "libraries", "diff-size": 1_600_000},
]


def tag(name: str) -> str:
    """The name of an image by its content."""
    return f"nephra/{name}:{build.version()}-{content_hash(name)}"


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a builder was told, that only writes that down."""
    script, log = tmp_path / "builder", tmp_path / "log"
    script.write_text(BUILDER.format(log=shlex.quote(str(log))))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("NEPHRA_BUILD", f"{script} build-image")
    monkeypatch.delenv("NEPHRA_STORE", raising=False)
    log.touch()
    return log


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store that knows the base and the present gateway."""
    root = tmp_path / "store"
    known = [
        {"id": "1", "layer": "python", "names": ["docker.io/library/python:3.11-slim-bookworm"]},
        {"id": "2", "layer": "code", "names": [store.full_name(tag("gateway"))]},
        {"id": "3", "layer": "debian"},
    ]
    for folder, file, content in (("images", "images", known), ("layers", "layers", LAYERS)):
        (root / f"overlay-{folder}").mkdir(parents=True)
        (root / f"overlay-{folder}" / f"{file}.json").write_text(json.dumps(content))
    monkeypatch.setenv("NEPHRA_STORE", str(root))
    return root


def test_an_image_is_tagged_by_content_and_version(log: Path) -> None:
    """The builder is told Dockerfile, tag, arguments and the context."""
    assert build.build("gateway") == tag("gateway")
    first, second = log.read_text().splitlines()
    assert first.startswith("build-image -f ")
    assert f"/Dockerfile.gateway -t {tag('gateway')} --build-arg=VERSION=" in first
    assert f"-t nephra/gateway:{build.version()} " in second


def test_all_images_are_built_and_named(log: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Standard output is JSON for whoever loads or installs them."""
    assert build.main([]) == 0
    assert json.loads(capfd.readouterr().out) == {name: tag(name) for name in NAMES}
    assert len(log.read_text().splitlines()) == 2 * len(NAMES)


def test_what_is_there_is_not_built_again(log: Path, images: Path) -> None:
    """Only the version's tag, which may be that of other content."""
    build.build("gateway")
    (told,) = log.read_text().splitlines()
    assert f"-t nephra/gateway:{build.version()} " in told
    build.build("smoothing")
    assert len(log.read_text().splitlines()) == 3


def test_nothing_is_done_where_both_tags_are_there(log: Path, images: Path) -> None:
    """And both are the same image."""
    path = images / "overlay-images" / "images.json"
    known = json.loads(path.read_text())
    known[1]["names"].append(f"docker.io/nephra/gateway:{build.version()}")
    path.write_text(json.dumps(known))
    build.build("gateway")
    assert log.read_text() == ""


def test_a_dry_run_builds_nothing(log: Path) -> None:
    """It says what would be done."""
    assert build.main(["gateway", "--dry-run"]) == 0
    assert log.read_text() == ""


def test_a_variant_has_tags_of_its_own(log: Path) -> None:
    """Smoothing with Open3D never takes the place of smoothing without."""
    assert build.main(["smoothing", "--extras", "[open3d]", "--registry", "r.example.org"]) == 0
    first, second = log.read_text().splitlines()
    assert f"r.example.org/nephra/smoothing:{build.version()}-open3d-" in first
    assert f"-t r.example.org/nephra/smoothing:{build.version()}-open3d " in second
    assert "--build-arg=EXTRAS=[open3d]" in first
    with pytest.raises(SystemExit):
        build.main(["gateway", "--extras", "[open3d]"])


def test_sizes_are_those_of_the_layers_over_the_base(images: Path) -> None:
    """In MB of 10^6 bytes, uncompressed."""
    assert store.size_over_base_mb(tag("gateway")) == pytest.approx(75.6)


def test_an_image_that_is_not_there_has_no_size(images: Path) -> None:
    """Nor has one of another base."""
    with pytest.raises(KeyError):
        store.size_over_base_mb("nephra/nothing:1")
    with pytest.raises(ValueError, match="not made from"):
        store.size_over_base_mb("python:3.11-slim-bookworm", tag("gateway"))


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("python:3.11", "docker.io/library/python:3.11"),
        ("nephra/gateway", "docker.io/nephra/gateway:latest"),
        ("localhost/nephra/gateway:1", "localhost/nephra/gateway:1"),
        ("r.example.org:5000/x/y:1", "r.example.org:5000/x/y:1"),
        ("r.example.org:5000/x/y", "r.example.org:5000/x/y:latest"),
    ],
)
def test_names_are_completed_as_runtimes_do(short: str, full: str) -> None:
    """A registry, a name, a tag."""
    assert store.full_name(short) == full
