"""`python -m nephra_nnunet bundle add|check|list`."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import yaml

from nephra_contract import labels as names
from nephra_contract.errors import BundleInvalid, NephraError
from nephra_contract.messages import Problem
from nephra_contract.results import sha256
from nephra_nnunet.bundle import Bundle, load_bundle
from nephra_nnunet.dataset import channel_count, read_heads
from nephra_nnunet.documents import read_document
from nephra_nnunet.manifest import MANIFEST, TaskName

_FILES = ("dataset.json", "plans.json")
_DEFAULT_CHANNELS = {"totalseg": "A|P|D", "tumor": "A|P|D", "vessel": "A,P", "ureter": "D"}


def main(arguments: Sequence[str], folder: Path) -> int:
    """Run the command.

    Args:
        arguments: behind `bundle`.
        folder: where bundles are kept, unless `--bundles` says otherwise.

    Returns:
        0; 2 if a bundle is refused, with the problem as JSON on standard error.
    """
    asked = _parser(folder).parse_args(arguments)
    try:
        said = asked.run(asked)
    except NephraError as error:
        print(json.dumps(Problem.of(error).model_dump(mode="json")), file=sys.stderr)  # noqa: T201
        return 2
    print(json.dumps(said, indent=2))  # noqa: T201
    return 0


def _parser(folder: Path) -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--bundles", type=Path, default=folder, help="default: %(default)s")
    parser = argparse.ArgumentParser(prog="python -m nephra_nnunet bundle")
    commands = parser.add_subparsers(required=True, metavar="add|check|list")
    add = commands.add_parser("add", parents=[shared], help="copy a trained nnU-Net, and check it")
    add.add_argument("name")
    add.add_argument("--task", required=True, choices=get_args(TaskName))
    add.add_argument(
        "--from",
        dest="source",
        type=Path,
        required=True,
        metavar="DIR",
        help="the folder that nnUNetv2_train left",
    )
    add.add_argument("--channels", help="phases per channel, such as A,P or A|P|D")
    add.add_argument(
        "--labels",
        nargs="*",
        default=[],
        metavar="CLASS=NUMBER",
        help="numbers of classes that do not have a name of nephra's table; CLASS=0 drops one",
    )
    add.add_argument("--folds", default="", help="such as 0,1,2; all that are there if left out")
    add.add_argument("--checkpoint", default="checkpoint_final.pth")
    add.add_argument("--orientation", help="of the training images, such as LPS")
    add.add_argument("--licence", default="")
    add.add_argument("--default", action="store_true", help="take it where none is named")
    add.set_defaults(run=_add)
    check = commands.add_parser("check", parents=[shared], help="load bundles and run them once")
    check.add_argument("names", nargs="*")
    check.set_defaults(run=_check)
    commands.add_parser("list", parents=[shared], help="what there is").set_defaults(run=_list)
    return parser


def _add(asked: argparse.Namespace) -> dict[str, Any]:
    target = asked.bundles / asked.name
    if target.exists():
        raise BundleInvalid(
            f"There is a bundle '{asked.name}' already.", "Remove it, or choose another name."
        )
    asked.bundles.mkdir(parents=True, exist_ok=True)
    partial = asked.bundles / f".{asked.name}.{uuid.uuid4().hex[:8]}"
    try:
        manifest = describe(asked, partial)
        text = yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True)
        (partial / MANIFEST).write_text(text, encoding="utf-8")
        run_once(load_bundle(partial))
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return load_bundle(target).describe().model_dump(mode="json")


def describe(asked: argparse.Namespace, partial: Path) -> dict[str, Any]:
    """Copy the files of a training into `partial`; gives the content of its `bundle.yaml`.

    Raises:
        BundleInvalid: a file is missing, or a class has no number.
    """
    folds = [f for f in asked.folds.split(",") if f] or sorted(
        p.parent.name.removeprefix("fold_") for p in asked.source.glob(f"fold_*/{asked.checkpoint}")
    )
    if not folds:
        raise BundleInvalid(
            f"The folder holds no fold_*/{asked.checkpoint}.",
            "Name the folder that nnUNetv2_train left, and its checkpoint with --checkpoint.",
        )
    files = [*_FILES, *(f"fold_{fold}/{asked.checkpoint}" for fold in folds)]
    for file in files:
        if not (asked.source / file).is_file():
            raise BundleInvalid(f"The folder holds no {file}.", "Name the training's folder.")
        (partial / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(asked.source / file, partial / file)
    dataset = read_document(partial, "dataset.json")
    channels = [c.split("|") for c in (asked.channels or _DEFAULT_CHANNELS[asked.task]).split(",")]
    if len(channels) != channel_count(dataset):
        raise BundleInvalid(
            f"dataset.json declares {channel_count(dataset)} channels, not {len(channels)}.",
            "Name the phases of each with --channels, such as A,P.",
        )
    return {
        "name": asked.name,
        "task": asked.task,
        "version": "1",
        "default": asked.default,
        "channels": channels,
        "labels": numbers(dataset, dict(_pair(text) for text in asked.labels)),
        "folds": [f if f == "all" else int(f) for f in folds],
        "checkpoint": asked.checkpoint,
        **({"orientation": asked.orientation} if asked.orientation else {}),
        "licence": asked.licence,
        "files": {file: sha256(partial / file) for file in files},
    }


def numbers(dataset: dict[str, Any], given: dict[str, int]) -> dict[str, int | None]:
    """Number of each class: as given, else the one that has its name in nephra's table.

    Raises:
        BundleInvalid: a class has neither.
    """
    heads = read_heads(dataset)
    classes = heads.names if heads.regions else heads.names[1:]
    found = {c: given.get(c, names.numbers().get(c)) for c in classes}
    nameless = [c for c, number in found.items() if number is None]
    if nameless:
        raise BundleInvalid(
            f"nephra's table has no name for the classes: {', '.join(nameless[:10])}.",
            "Give their numbers with --labels CLASS=NUMBER; CLASS=0 drops one.",
        )
    return {c: number or None for c, number in found.items()}


def run_once(bundle: Bundle) -> None:
    """Run a bundle on an empty tile, as a server does before it is ready.

    Raises:
        BundleInvalid: it cannot be built, or gives values that are not numbers.
    """
    from nephra_nnunet.backends import open_backend
    from nephra_nnunet.engine import Engine
    from nephra_nnunet.settings import Settings

    settings = Settings()
    backend = open_backend(settings.backend, settings.thread_count, settings.device)
    Engine({bundle.name: bundle}, {}, backend).warm_up()


def _check(asked: argparse.Namespace) -> dict[str, Any]:
    found = {}
    for name in asked.names or _names(asked.bundles):
        bundle = load_bundle(asked.bundles / name)
        run_once(bundle)
        found[name] = {"ready": True, "digest": bundle.digest}
    return found


def _list(asked: argparse.Namespace) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in _names(asked.bundles):
        try:
            found[name] = load_bundle(asked.bundles / name).describe().model_dump(mode="json")
        except BundleInvalid as error:
            found[name] = {"refused": error.detail, "action": error.action}
    return found


def _names(folder: Path) -> list[str]:
    return sorted(p.parent.name for p in folder.glob(f"*/{MANIFEST}"))


def _pair(text: str) -> tuple[str, int]:
    name, separator, number = text.rpartition("=")
    if not separator or not number.isdigit():
        raise BundleInvalid(f"'{text}' is not of the form CLASS=NUMBER.", "Write kidney=200.")
    return name, int(number)
