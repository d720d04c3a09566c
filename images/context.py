"""What goes into each image: the files, and one hash of all of them."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("gateway", "nnunet", "nnunet-gpu", "postprocess", "smoothing")


def dockerfile(name: str, root: Path = ROOT) -> Path:
    """The Dockerfile of an image.

    Raises:
        ValueError: there is no such image.
    """
    if name not in NAMES:
        raise ValueError(f"no image {name!r}; there are {', '.join(NAMES)}")
    return root / f"Dockerfile.{name}"


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """(`COPY`, its arguments) and so on, continued lines joined, without comments."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if line.strip():
            word, _, rest = line.strip().partition(" ")
            yield word.upper(), rest.strip()


def copied(text: str) -> list[str]:
    """What a Dockerfile copies from the context, relative to it; in order, each once."""
    found: dict[str, None] = {}
    for word, rest in instructions(text):
        arguments = shlex.split(rest)
        if word in {"COPY", "ADD"} and not any(a.startswith("--from=") for a in arguments):
            sources = [a for a in arguments if not a.startswith("--")][:-1]
            found.update(dict.fromkeys(s.rstrip("/") for s in sources))
    return list(found)


class Ignore:
    """The rules of a .dockerignore file: the last that fits decides.

    Args:
        text: of the file.
    """

    def __init__(self, text: str) -> None:
        lines = (line.strip() for line in text.splitlines())
        rules = [line for line in lines if line and not line.startswith("#")]
        self._rules = [(not r.startswith("!"), _pattern(r.lstrip("!"))) for r in rules]

    def ignores(self, path: str) -> bool:
        """Whether `path`, relative to the context, stays out, by itself or with its folder."""
        ignored = False
        for ignores, pattern in self._rules:
            if pattern.fullmatch(path):
                ignored = ignores
        return ignored


def _pattern(rule: str) -> re.Pattern[str]:
    parts = re.split(r"(\*\*/|\*|\?)", rule.strip("/"))
    known = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(known.get(p, re.escape(p)) for p in parts) + "(?:/.*)?")


def context_paths(name: str, root: Path = ROOT) -> list[Path]:
    """All files that go into an image's build, sorted.

    Raises:
        ValueError: there is no such image.
        FileNotFoundError: the Dockerfile copies what is not there, or what .dockerignore keeps out.
    """
    path = dockerfile(name, root)
    ignore = Ignore((root / ".dockerignore").read_text(encoding="utf-8"))
    found = {path}
    for source in copied(path.read_text(encoding="utf-8")):
        below = [root / source] if (root / source).is_file() else sorted((root / source).rglob("*"))
        files = [p for p in below if p.is_file()]
        kept = [p for p in files if not ignore.ignores(p.relative_to(root).as_posix())]
        if not kept:
            raise FileNotFoundError(f"{path.name}: nothing of {source} goes into the build")
        found.update(kept)
    return sorted(found)


def content_hash(name: str, arguments: Mapping[str, str] | None = None, root: Path = ROOT) -> str:
    """12 hex digits of all that decides about an image, fit for a tag.

    Args:
        name: of the image.
        arguments: build arguments that change what is inside, such as EXTRAS.
        root: the checkout.
    """
    digest = hashlib.sha256()
    for key, value in sorted((arguments or {}).items()):
        digest.update(f"{key}={value}\0".encode())
    for path in context_paths(name, root):
        inside = hashlib.sha256(path.read_bytes()).hexdigest()
        executable = bool(path.stat().st_mode & 0o100)
        digest.update(f"{path.relative_to(root).as_posix()}\0{executable}\0{inside}\n".encode())
    return digest.hexdigest()[:12]
