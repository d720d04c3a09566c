"""Build the images, each once for one content.

    python -m images.build [NAME...] [--extras '[open3d]'] [--registry R] [--dry-run]

builds all images, or the named ones, that are not there yet, and prints JSON: name → image with
the tag of its content. Each is also tagged with the version. The builder is docker, podman or
buildah, whichever is there, or what NEPHRA_BUILD says:

    NEPHRA_BUILD   `$NEPHRA_BUILD -f DOCKERFILE -t NAME:TAG --build-arg K=V CONTEXT` builds
    NEPHRA_STORE   the image store of podman, buildah or another builder that uses theirs, to see
                   what is there; not needed for docker
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from images import store
from images.context import NAMES, ROOT, content_hash, dockerfile

REPOSITORY = "nephra"


def builder() -> list[str]:
    """The command that builds.

    Raises:
        SystemExit: there is none.
    """
    if told := os.environ.get("NEPHRA_BUILD"):
        return shlex.split(told)
    for program in ("docker", "podman", "buildah"):
        if shutil.which(program):
            return [program, "build"]
    raise SystemExit("no docker, podman or buildah here, and NEPHRA_BUILD names no other builder")


def version(root: Path = ROOT) -> str:
    """Of this checkout."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])


def revision(root: Path = ROOT) -> str:
    """The commit checked out, or `unknown`."""
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def image(name: str, tag: str, registry: str = "") -> str:
    """`registry/nephra/gateway:tag`."""
    return "/".join(filter(None, (registry, REPOSITORY, name))) + f":{tag}"


def command(
    name: str, tag: str, arguments: Mapping[str, str], registry: str = "", root: Path = ROOT
) -> list[str]:
    """What builds one image."""
    labels = {"VERSION": version(root), "REVISION": revision(root)}
    pairs = [f"--build-arg={k}={v}" for k, v in {**labels, **arguments}.items()]
    wanted = ["-f", str(dockerfile(name, root)), "-t", image(name, tag, registry)]
    return [*builder(), *wanted, *pairs, str(root)]


def build(
    name: str, arguments: Mapping[str, str] | None = None, registry: str = "", dry: bool = False
) -> str:
    """Build one image unless one of this content is there.

    Returns:
        The image's name with the tag of its content.
    """
    chosen = dict(arguments or {})
    release = version() + ("-" + chosen["EXTRAS"].strip("[]") if chosen.get("EXTRAS") else "")
    by_content = f"{release}-{content_hash(name, chosen)}"
    made = image(name, by_content, registry)
    for tag in (by_content, release):
        there = store.identity(image(name, tag, registry), builder())
        if there is not None and there == store.identity(made, builder()):
            sys.stderr.write(f"{image(name, tag, registry)} is there\n")
            continue
        told = command(name, tag, chosen, registry)
        sys.stderr.write(shlex.join(told) + "\n")
        if not dry:
            subprocess.run(told, check=True, stdout=sys.stderr)  # noqa: S603
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Build what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m images.build", description="Build the images.")
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], metavar="NAME")
    parser.add_argument("--extras", default="", help="of smoothing: '[open3d]'")
    parser.add_argument("--registry", default="", help="put before the images' names")
    parser.add_argument("--dry-run", action="store_true", help="only print the commands")
    told = parser.parse_args(argv)
    arguments = {"EXTRAS": told.extras} if told.extras else {}
    names = told.names or NAMES
    if arguments and tuple(names) != ("smoothing",):
        parser.error("--extras is for smoothing alone")
    built = {name: build(name, arguments, told.registry, told.dry_run) for name in names}
    sys.stdout.write(json.dumps(built, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
