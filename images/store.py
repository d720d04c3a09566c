"""Images as the builder keeps them: which are there, and how large they are over their base.

python -m images.store IMAGE...      prints JSON: image → MB over the base
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

BASE = "python:3.11-slim-bookworm"
#: One megabyte, as the budgets are given.
_MB = 1_000_000


class Store:
    """An image store of podman and buildah, read without them.

    Args:
        root: its folder (`--root` of both).
    """

    def __init__(self, root: Path) -> None:
        self._images = _read(root / "overlay-images" / "images.json")
        layers = _read(root / "overlay-layers" / "layers.json")
        self._layers: dict[str, Any] = {layer["id"]: layer for layer in layers}

    def layers(self, image: str) -> list[tuple[str, int]]:
        """(id, bytes uncompressed) of each layer of an image, the base's first.

        Raises:
            KeyError: there is no such image.
        """
        return list(self._chain(self._find(image)["layer"]))[::-1]

    def identity(self, image: str) -> str:
        """The id of an image.

        Raises:
            KeyError: there is no such image.
        """
        return str(self._find(image)["id"])

    def _find(self, image: str) -> dict[str, Any]:
        wanted = full_name(image)
        for known in self._images:
            if wanted in known.get("names", []):
                return known
        raise KeyError(image)

    def _chain(self, layer: str) -> Iterator[tuple[str, int]]:
        while layer:
            known = self._layers[layer]
            yield layer, known.get("diff-size", 0)
            layer = known.get("parent", "")


def full_name(image: str) -> str:
    """As runtimes write it: with a registry's name and a tag."""
    first, slash, _ = image.partition("/")
    if not slash:
        image = f"docker.io/library/{image}"
    elif first != "localhost" and not {".", ":"} & set(first):
        image = f"docker.io/{image}"
    return image if ":" in image.rpartition("/")[2] else f"{image}:latest"


def identity(image: str, builder: Sequence[str]) -> str | None:
    """What tells an image from others; None if it is not there, or that cannot be known."""
    if root := os.environ.get("NEPHRA_STORE"):
        try:
            return Store(Path(root)).identity(image)
        except (KeyError, OSError):
            return None
    if Path(builder[0]).name not in {"docker", "podman"}:
        return None
    command = [builder[0], "image", "inspect", "--format", "{{.Id}}", image]
    found = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
    return found.stdout.strip() or None


def size_over_base_mb(image: str, base: str = BASE) -> float:
    """Uncompressed size of the layers that `image` adds to `base`, in MB (10^6 bytes).

    Read from the store that NEPHRA_STORE names, else asked of docker.

    Raises:
        KeyError: an image is not there.
        ValueError: `image` does not begin with the layers of `base`.
    """
    if root := os.environ.get("NEPHRA_STORE"):
        store = Store(Path(root))
        whole, below = store.layers(image), store.layers(base)
        if whole[: len(below)] != below:
            raise ValueError(f"{image} is not made from {base}")
        return sum(size for _, size in whole[len(below) :]) / _MB
    return (_docker_bytes(image) - _docker_bytes(base)) / _MB


def _docker_bytes(image: str) -> int:
    command = ["docker", "image", "inspect", "--format", "{{.Size}}", image]
    found = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
    if found.returncode:
        raise KeyError(image)
    return int(found.stdout)


def _read(path: Path) -> list[dict[str, Any]]:
    known: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return known


if __name__ == "__main__":
    sizes = {image: round(size_over_base_mb(image), 1) for image in sys.argv[1:]}
    sys.stdout.write(json.dumps(sizes, indent=2) + "\n")
