"""By what a result is found again: all that it depends on, and nothing else."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from nephra_contract.messages import BundleDescription, OperationDescription
from nephra_gateway.content import Contents
from nephra_gateway.fingerprint import Content

#: Part of every key: another way of making them gives other ones.
_KIND = "nephra key 1"

#: Members that say where the work belongs to, not what it is.
_ADDRESS = ("ticket", "step", "attempt")
_PLACE = "output_path"

#: What several models on the images of one patient are called, and the first part of one alone.
_MODELS = "inference"

#: Above this not all whole numbers are floats.
_LARGEST_EXACT = 2.0**53

#: Member → files. What a result's manifest must say of itself has such a form too; see `Keyed`.
Files = Mapping[str, list[str]]


@dataclass(frozen=True)
class Keyed:
    """The keys of a step's results.

    Args:
        keys: part → key; the one result of a plain operation is the part `""`. None: what it
            depends on is not known in full, so it must not be found again.
        inputs: part → what the manifest of a result of that key must say: per request member the
            SHA-256 of its files, and `version` and `bundle` (the digest) of what has made it.
    """

    keys: Mapping[str, str | None]
    inputs: Mapping[str, Files]

    @property
    def complete(self) -> bool:
        """Whether every part has a key."""
        return all(key is not None for key in self.keys.values())


class Keys:
    """Makes keys of requests.

    Args:
        contents: of the files that requests name.
    """

    def __init__(self, contents: Contents) -> None:
        self._contents = contents

    def known(
        self,
        description: OperationDescription,
        request: Mapping[str, Any],
        bundles: Sequence[BundleDescription],
        gives: Sequence[str] = (),
    ) -> Keyed | None:
        """As `of`, but at once: None where the content of a file would have to be looked up."""
        contents: dict[str, Content | None] = {}
        for path in _names(files_of(request)):
            contents[path] = self._contents.known(path)
            if contents[path] is None:
                return None
        return keyed(description, request, bundles, contents, gives)

    async def of(
        self,
        description: OperationDescription,
        request: Mapping[str, Any],
        bundles: Sequence[BundleDescription],
        gives: Sequence[str] = (),
    ) -> Keyed:
        """The keys of what a request makes.

        Args:
            description: of its operation.
            request: as it would be sent to the predictor.
            bundles: that the predictors have loaded.
            gives: the results of a step that makes several; see `planning.Step`.
        """
        names = _names(files_of(request))
        found = await asyncio.gather(*(self._contents.of(path) for path in names))
        contents = dict(zip(names, found, strict=True))
        return keyed(description, request, bundles, contents, gives)


def keyed(
    description: OperationDescription,
    request: Mapping[str, Any],
    bundles: Sequence[BundleDescription],
    contents: Mapping[str, Content | None],
    gives: Sequence[str] = (),
) -> Keyed:
    """The keys of what a request makes, of files whose content is known; see `Keys.of`."""
    files = files_of(request)
    if gives:
        parts = {p: _part(description, request, files, bundles, p) for p in gives}
    else:
        parts = {"": _whole(description, request, files, bundles)}
    keys, inputs = {}, {}
    for part, needed in parts.items():
        keys[part] = None if needed is None else _key(description, needed, contents)
        inputs[part] = {} if needed is None else _expected(description, needed, contents)
    return Keyed(keys, inputs)


def files_of(request: Mapping[str, Any]) -> dict[str, list[str]] | None:
    """Which files a request names, by member; None where that is not understood.

    A file is named by a member that ends in `_path`, but for the one that says where to put the
    result.
    """
    found = {}
    for member, value in request.items():
        if not member.endswith("_path") or member == _PLACE or value is None:
            continue
        paths = value if isinstance(value, list) else [value]
        if not all(isinstance(path, str) for path in paths):
            return None
        found[member] = paths
    return found


def digest_of(document: Any) -> str:
    """SHA-256 of a JSON value in its canonical form: sorted, and 1.0 is 1.

    Raises:
        ValueError: a number that is not finite.
    """
    said = json.dumps(
        _plain(document), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return hashlib.sha256(said.encode()).hexdigest()


@dataclass(frozen=True)
class _Needed:
    """What one result depends on."""

    part: str
    files: Files
    parameters: Mapping[str, Any]
    bundles: list[str]


def _whole(
    description: OperationDescription,
    request: Mapping[str, Any],
    files: Files | None,
    bundles: Sequence[BundleDescription],
) -> _Needed | None:
    """What the result of a plain operation depends on."""
    if files is None:
        return None
    digests: list[str] = []
    first, _, task = description.name.partition("/")
    if first == _MODELS and task:
        named = request.get("bundle")
        bundle = _bundle(bundles, task, named)
        if bundle is None and named is not None:
            return None
        digests = [] if bundle is None else [bundle.digest]
    return _Needed("", files, _parameters(description, request), digests)


def _part(
    description: OperationDescription,
    request: Mapping[str, Any],
    files: Files | None,
    bundles: Sequence[BundleDescription],
    task: str,
) -> _Needed | None:
    """What one model's mask depends on: the images that its channels take, and no others."""
    named = request.get("bundles") or {}
    if files is None or description.name != _MODELS or not isinstance(named, dict):
        return None
    bundle = _bundle(bundles, task, named.get(task))
    if bundle is None and named.get(task) is not None:
        return None
    taken = files if bundle is None else _taken(bundle, files)
    if taken is None:
        return None
    rest = {m: v for m, v in _parameters(description, request).items() if m not in _OF_ALL}
    return _Needed(task, taken, rest, [] if bundle is None else [bundle.digest])


#: What a request for several says of all of them.
_OF_ALL = ("tasks", "bundles")


def _bundle(
    bundles: Sequence[BundleDescription], task: str, named: Any
) -> BundleDescription | None:
    """The model that would run: the one that is named, else the default."""
    for bundle in bundles:
        if bundle.task == task and (bundle.default if named is None else bundle.name == named):
            return bundle
    return None


def _taken(bundle: BundleDescription, files: Files) -> Files | None:
    """Per channel the first of its phases that is there; None where a channel gets none."""
    taken = {}
    for channel in bundle.channels:
        members = [m for phase in channel if (m := f"image_{phase}_path") in files]
        if not members:
            return None
        taken[members[0]] = files[members[0]]
    return taken


def _parameters(description: OperationDescription, request: Mapping[str, Any]) -> dict[str, Any]:
    """What a request says besides files, what it leaves out filled in."""
    members: Mapping[str, Any] = description.request_schema.get("properties", {})
    filled = {m: s["default"] for m, s in members.items() if "default" in s} | dict(request)
    kept = {m: v for m, v in filled.items() if not m.endswith("_path") and m not in _ADDRESS}
    place = request.get(_PLACE)
    if isinstance(place, str):
        # Files are called like it, and an OBJ names its MTL.
        kept["stem"] = PurePosixPath(place).name.split(".", 1)[0]
    return kept


def _key(
    description: OperationDescription, needed: _Needed, contents: Mapping[str, Content | None]
) -> str | None:
    """The key; None where the code or a content is not known."""
    if not description.code:
        return None
    inputs: dict[str, list[str]] = {}
    for member, paths in needed.files.items():
        inputs[member] = []
        for path in paths:
            content = contents.get(path)
            if content is None:
                return None
            inputs[member].append(content.voxels)
    try:
        return digest_of(
            {
                "kind": _KIND,
                "operation": description.name,
                "part": needed.part,
                "version": description.version,
                "code": description.code,
                "inputs": inputs,
                "parameters": needed.parameters,
                "bundles": needed.bundles,
            }
        )
    except (ValueError, TypeError, RecursionError):
        return None


def _expected(
    description: OperationDescription, needed: _Needed, contents: Mapping[str, Content | None]
) -> Files:
    """What the manifest must say; see `Keyed`."""
    said = {
        member: [content.file for path in paths if (content := contents.get(path)) is not None]
        for member, paths in needed.files.items()
    }
    version = {} if needed.part else {"version": [description.version]}
    return {**said, **version, "bundle": list(needed.bundles)}


def _names(files: Files | None) -> list[str]:
    """Every file once."""
    return list(dict.fromkeys(path for paths in (files or {}).values() for path in paths))


def _plain(value: Any) -> Any:
    """The same value, as one of all its spellings."""
    if isinstance(value, Mapping):
        return {str(member): _plain(inner) for member, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and value.is_integer() and abs(value) <= _LARGEST_EXACT:
        return int(value)
    return value
