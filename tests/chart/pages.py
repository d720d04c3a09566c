"""What the pages about installing name, held against the chart and the checkout."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from chart.helm import CHART, Refused
from chart.rendering import ROOT, Object, render, texts, values
from chart.schema import resolved, schema

PAGES = (
    *(p for p in sorted((ROOT / "docs/how-to").glob("*.md")) if p.stem != "add-an-operation"),
    ROOT / "docs" / "reference" / "metrics.md",
    ROOT / "manifests" / "README.md",
    CHART / "README.md",
    ROOT / "README.md",
)
#: A dotted name that ends so is a file.
_SUFFIXES = {"json", "py", "txt", "yaml"}
_DOTTED = re.compile(r"`([a-z][A-Za-z]*(?:\.[a-z][A-Za-z]*)+)(?::[^`]*)?`")
_SET = re.compile(r"--set(?:-string|-json)?[ =]([\w.]+)=")
_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^ *```", flags=re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"(?<![\w/.-])((?:charts|manifests|docs|tests|images|ci)/[\w./*-]*[\w*])")
_LINK = re.compile(r"\]\((?!http)([^)\s]+)\)")
_MAKE = re.compile(r"^ *make ([a-z][a-z0-9-]*)|`make ([a-z][a-z0-9-]*)`", flags=re.MULTILINE)
_KINDS = {
    "service": "Service",
    "deployment": "Deployment",
    "secret": "Secret",
    "pvc": "PersistentVolumeClaim",
    "pod": "Pod",
}
_NAMED = re.compile(rf"\b({'|'.join(_KINDS)})[ /](nephra[\w-]*)")
_MADE = re.compile(r"create secret \S+ (\S+)")
#: Of other charts: Traefik's, in the page on kind.
_FOREIGN = {"service.type", "ports.web.nodePort", "ports.websecure.nodePort"}


def wrong_values(text: str) -> Iterator[str]:
    """Values that a page names in its sentences or gives to --set, and that there are not.

    In a sentence a path may leave off where it begins: `autoscaling.mode`.
    """
    whole = _paths()
    ends = {p.split(".", n)[n] for p in whole for n in range(p.count(".") + 1)}
    roots = {p.partition(".")[0] for p in whole}
    for path in _DOTTED.findall(text):
        if path.rpartition(".")[2] not in _SUFFIXES:
            known = whole if path.partition(".")[0] in roots else ends
            if not _is_in(path, known):
                yield path
    for path in _SET.findall(text):
        if path not in _FOREIGN and not _is_in(path, whole):
            yield path


def _is_in(path: str, known: Collection[str]) -> bool:
    return path in known or f"{path.rpartition('.')[0]}.*" in known


def wrong_examples(text: str) -> Iterator[str]:
    """Values files in a page that the chart refuses."""
    for indent, language, block in _BLOCK.findall(text):
        if language != "yaml":
            continue
        given = yaml.safe_load(re.sub(f"^{indent}", "", block, flags=re.MULTILINE))
        if "name" in given:  # a bundle.yaml
            continue
        try:
            texts(given)
        except Refused as error:
            yield str(error)


def wrong_files(text: str, page: Path) -> Iterator[str]:
    """Files, links, their anchors and make targets that there are not."""
    for path in _FILE.findall(text):
        root = CHART if path.startswith("ci/") else ROOT
        if not any(root.glob(path)):
            yield path
    for link in _LINK.findall(text):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            yield link
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target_name in (a or b for a, b in _MAKE.findall(text)):
        if not re.search(rf"^{target_name}:", makefile, flags=re.MULTILINE):
            yield f"make {target_name}"


def wrong_names(text: str) -> Iterator[str]:
    """Objects that a command names, and that neither the chart nor an earlier command makes."""
    there = _objects()
    made = {("Secret", name) for name in _MADE.findall(text)}
    for kind, name in _NAMED.findall(text):
        if (_KINDS[kind], name) not in there | made:
            yield f"{kind} {name}"


def _anchors(page: Path) -> set[str]:
    heads = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in heads}


@cache
def _objects() -> set[tuple[str, str]]:
    given: tuple[Object, ...] = ({}, values("plain"))
    return {(o["kind"], o["metadata"]["name"]) for g in given for o in render(g)}


@cache
def _paths() -> frozenset[str]:
    """Every value's path; `*` stands where keys are the user's."""
    whole = schema()
    return frozenset(".".join(path) for path in _walk(whole, whole))


def _walk(part: dict[str, Any], whole: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    part = resolved(part, whole)
    if isinstance(part.get("additionalProperties"), dict):
        yield ("*",)
    for key, inner in part.get("properties", {}).items():
        yield (key,)
        if isinstance(inner, dict):
            yield from ((key, *path) for path in _walk(inner, whole))
