"""What is kept of an answer: its files, by what its manifest says of them."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from nephra_contract.fences import RESULTS
from nephra_contract.nifti_header import SUFFIXES
from nephra_contract.paths import DataRoot
from nephra_gateway.content import Contents
from nephra_gateway.keys import Files
from nephra_gateway.store.entries import Result

_PATH, _MANIFEST = "_path", "manifest_path"

#: What `keys.Keyed.inputs` says besides files.
_BUNDLE, _VERSION = "bundle", "version"


@dataclass(frozen=True)
class Registration:
    """Turns answers into results that can be kept.

    Args:
        data: the data root.
        contents: of its files.
    """

    data: DataRoot
    contents: Contents

    async def result(
        self,
        key: str,
        ticket: str,
        answer: Mapping[str, Any],
        seconds: float,
        expected: Files,
    ) -> Result | None:
        """What is kept of an answer; None where it is not what its key says, or cannot be checked.

        Args:
            key: that it would be found by.
            ticket: that it was made for.
            answer: as the predictor gave it.
            seconds: that it took.
            expected: what the manifest must say, by `keys.Keyed.inputs`: files that were
                replaced, or a model that was exchanged, while it was made would give a wrong one.
        """
        said = answer.get(_MANIFEST)
        folder = _folder(said, ticket)
        if folder is None or not isinstance(said, str):
            return None
        manifest = await asyncio.to_thread(self._read, said)
        if manifest is None or not agrees(manifest, expected):
            return None
        outputs = _outputs(manifest, folder)
        if not outputs or not set(_paths(answer)) <= set(outputs):
            return None
        files = await self._verified(dict(outputs.values()), said)
        if files is None:
            return None
        size = await asyncio.to_thread(self.size, list(files))
        kept = dict(answer) | {member: path for member, (path, _) in outputs.items()}
        name = str(manifest.get("operation", ""))
        return Result(new_entry(), key, name, ticket, folder, size, seconds, files, kept)

    def size(self, paths: Sequence[str]) -> int:
        """Bytes of some files; those that are not there count as none."""
        found = 0
        for path in paths:
            try:
                found += (self.data.root / path).stat().st_size
            except OSError:
                continue
        return found

    def _read(self, path: str) -> dict[str, Any] | None:
        try:
            manifest = json.loads((self.data.root / path).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return manifest if isinstance(manifest, dict) else None

    async def _verified(self, outputs: Mapping[str, str], manifest: str) -> dict[str, str] | None:
        """The digests of all files as they lie there; None where one is not what it should be."""
        names = list(outputs)
        found = await asyncio.gather(*(self._digest(path) for path in names))
        if list(outputs.values()) != found:
            return None
        last = await self.contents.file_digest(manifest)
        return None if last is None else {**outputs, manifest: last}

    async def _digest(self, path: str) -> str | None:
        if path.endswith(SUFFIXES):
            content = await self.contents.of(path)  # the next step will ask for it anyway
            return None if content is None else content.file
        return await self.contents.file_digest(path)


def new_entry() -> str:
    """A fresh number for an entry."""
    return uuid.uuid4().hex


def agrees(manifest: Mapping[str, Any], expected: Files) -> bool:
    """Whether a result was made of what its key was made of.

    Request members may have other names, so files of members that the manifest does not know
    are looked for among all.
    """
    inputs = manifest.get("inputs")
    if not isinstance(inputs, dict):
        return False
    files = {m: digests for m, digests in expected.items() if m.endswith(_PATH)}
    every = {digest for digests in files.values() for digest in digests}
    for member, items in inputs.items():
        read = _digests(items)
        if read != files[member] if member in files else not set(read) <= every:
            return False
    bundle = manifest.get("bundle")
    if isinstance(bundle, dict) and expected.get(_BUNDLE) != [bundle.get("digest")]:
        return False
    versions, name = manifest.get("versions"), manifest.get("operation")
    if _VERSION in expected and isinstance(versions, dict) and str(name) in versions:
        return expected[_VERSION] == [versions[str(name)]]
    return True


def _digests(items: Any) -> list[Any]:
    """What a manifest says of the files of one member; None for what is not understood."""
    if not isinstance(items, list):
        return [None]
    return [item.get("sha256") if isinstance(item, dict) else None for item in items]


def _folder(manifest: Any, ticket: str) -> str | None:
    """The folder of a result, right below its ticket's."""
    if not isinstance(manifest, str):
        return None
    folder = PurePosixPath(manifest).parent
    return str(folder) if str(folder.parent) == f"{RESULTS}/{ticket}" else None


def _outputs(manifest: Mapping[str, Any], folder: str) -> dict[str, tuple[str, str]]:
    """By member of the answer, path and SHA-256; empty where one lies elsewhere."""
    outputs = manifest.get("outputs")
    if not isinstance(outputs, dict):
        return {}
    found = {}
    for member, made in outputs.items():
        if not isinstance(made, dict):
            return {}
        path, digest = made.get("path"), made.get("sha256")
        if not isinstance(path, str) or not isinstance(digest, str):
            return {}
        if str(PurePosixPath(path).parent) != folder:
            return {}
        found[member] = (path, digest)
    return found


def _paths(answer: Mapping[str, Any]) -> list[str]:
    """The members of an answer that name files, but the manifest."""
    return [m for m, v in answer.items() if m.endswith(_PATH) and m != _MANIFEST and v is not None]
