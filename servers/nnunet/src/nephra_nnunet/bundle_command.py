"""`python -m nephra_nnunet bundle add|check|list`."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from nephra_contract.errors import BundleInvalid, NephraError
from nephra_contract.messages import Problem
from nephra_nnunet.bundle import Bundle, load_bundle, places
from nephra_nnunet.manifest import NAME_PATTERN, TaskName
from nephra_nnunet.presets import PRESETS, write_preset
from nephra_nnunet.training import numbers, open_training

#: What to print, and whether something was refused.
Outcome = tuple[dict[str, Any], bool]

_DEFAULT_CHANNELS = {"totalseg": "A|P|D", "tumor": "A|P|D", "vessel": "A,P", "ureter": "D"}


def main(arguments: Sequence[str], *folders: Path) -> int:
    """Run the command.

    Args:
        arguments: behind `bundle`.
        folders: where bundles are kept, unless `--bundles` says otherwise; `add` adds to the
            first.

    Returns:
        0; 2 if a bundle is refused. The problem of `add` is JSON on standard error, `check` says
        which and why in its list.
    """
    asked = _parser(folders).parse_args(arguments)
    try:
        said, refused = asked.run(asked)
    except NephraError as error:
        print(json.dumps(Problem.of(error).model_dump(mode="json")), file=sys.stderr)  # noqa: T201
        return 2
    print(json.dumps(said, indent=2))  # noqa: T201
    return 2 if refused else 0


def _parser(folders: Sequence[Path]) -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    default = os.pathsep.join(str(f) for f in folders)
    shared.add_argument(
        "--bundles",
        type=_folders,
        default=default,
        metavar="DIRS",
        help="default: %(default)s",
    )
    parser = argparse.ArgumentParser(prog="python -m nephra_nnunet bundle")
    commands = parser.add_subparsers(required=True, metavar="add|check|list")
    add = commands.add_parser("add", parents=[shared], help="copy a trained nnU-Net, and check it")
    add.add_argument("name", help="of the bundle, by which requests call it")
    add.add_argument("--task", choices=get_args(TaskName), help="what requests use it for")
    add.add_argument(
        "--preset", choices=tuple(PRESETS), help="a published model, instead of a task"
    )
    add.add_argument(
        "--from",
        dest="source",
        type=Path,
        required=True,
        metavar="DIR",
        help="the folder that nnUNetv2_train left; of a preset, where its folders lie",
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
    add.add_argument("--checkpoint", default="checkpoint_final.pth", help="default: %(default)s")
    add.add_argument("--orientation", help="of the training images, such as LPS")
    add.add_argument("--licence", default="", help="under which the weights are")
    add.add_argument("--default", action="store_true", help="take it where none is named")
    add.add_argument(
        "--bfloat16",
        action="store_true",
        help="run it in bfloat16 on CPUs that can, if its labels stay those of float32",
    )
    add.add_argument(
        "--try-on",
        nargs="+",
        type=Path,
        default=[],
        metavar="IMAGE",
        help="images to compare bfloat16 with float32 on, one per channel",
    )
    add.set_defaults(run=_add)
    check = commands.add_parser("check", parents=[shared], help="load bundles and run them once")
    check.add_argument("names", nargs="*")
    check.set_defaults(run=_check)
    commands.add_parser("list", parents=[shared], help="what there is").set_defaults(run=_list)
    return parser


def _add(asked: argparse.Namespace) -> Outcome:
    home: Path = asked.bundles[0]
    target = home / asked.name
    _check_request(asked)
    home.mkdir(parents=True, exist_ok=True)
    partial = home / f".{asked.name}.{uuid.uuid4().hex[:8]}"
    try:
        _write(asked, partial)
        run_once(load_bundle(partial))
        if asked.bfloat16:
            _try_bfloat16(load_bundle(partial), asked.try_on)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return load_bundle(target).describe().model_dump(mode="json"), False


def _check_request(asked: argparse.Namespace) -> None:
    if not re.fullmatch(NAME_PATTERN, asked.name):
        raise BundleInvalid(
            f"'{asked.name}' is no name for a bundle.",
            "Use up to 64 of a-z, 0-9, '.', '_' and '-', a letter or digit first.",
        )
    if any((folder / asked.name).exists() for folder in asked.bundles):
        raise BundleInvalid(
            f"There is a bundle '{asked.name}' already.", "Remove it, or choose another name."
        )
    if bool(asked.task) == bool(asked.preset):
        raise BundleInvalid(
            "Either --task or --preset has to be given.", "A preset knows its task."
        )
    if asked.bfloat16 != bool(asked.try_on):
        raise BundleInvalid(
            "bfloat16 is admitted by a comparison with float32 on an image of yours.",
            "Name one image per channel with --try-on, together with --bfloat16.",
        )
    if asked.preset and (asked.labels or asked.orientation or asked.licence):
        raise BundleInvalid(
            "A preset knows its labels, orientation and licence.",
            "Leave out --labels, --orientation and --licence, or --preset.",
        )


def _try_bfloat16(bundle: Bundle, images: Sequence[Path]) -> None:
    from nephra_nnunet.admission import admit
    from nephra_nnunet.settings import Settings

    settings = Settings()
    admit(bundle, images, settings.thread_count, settings.max_voxels)
    run_once(load_bundle(bundle.folder))


def _write(asked: argparse.Namespace, partial: Path) -> None:
    """Copy the files of one training, or of a preset's, into `partial`, with `bundle.yaml`."""
    folds = [f for f in asked.folds.split(",") if f]
    preset = PRESETS[asked.preset] if asked.preset else None
    task = preset.task if preset else asked.task
    channels = [c.split("|") for c in (asked.channels or _DEFAULT_CHANNELS[task]).split(",")]
    members = {"name": asked.name, "default": asked.default, "channels": channels}
    if preset:
        write_preset(preset, asked.source, partial, members, folds, asked.checkpoint)
        return
    training = open_training(asked.source, folds, asked.checkpoint)
    training.check_channels(channels)
    given = dict(_pair(text) for option in asked.labels for text in _pieces(option))
    own = {"task": task, "version": "1", "labels": numbers(training.dataset, given)}
    turned = {"orientation": asked.orientation} if asked.orientation else {}
    training.write_bundle(partial, {**members, **own, **turned, "licence": asked.licence})


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
    for part in bundle.parts:
        # One after the other: no more than one network is held at a time.
        Engine({}, {}, backend).try_out(part)


def _check(asked: argparse.Namespace) -> Outcome:
    found: dict[str, Any] = {}
    for name, place in _chosen(asked).items():
        try:
            bundle = load_bundle(place)
            run_once(bundle)
        except BundleInvalid as error:
            found[name] = {"ready": False, **_refusal(error)}
        else:
            found[name] = {"ready": True, "digest": bundle.digest}
    return found, not all(said["ready"] for said in found.values())


def _list(asked: argparse.Namespace) -> Outcome:
    found: dict[str, Any] = {}
    for name, place in _names(asked.bundles).items():
        try:
            found[name] = load_bundle(place).describe().model_dump(mode="json")
        except BundleInvalid as error:
            found[name] = _refusal(error)
    return found, False


def _refusal(error: BundleInvalid) -> dict[str, str]:
    return {"refused": error.detail, "action": error.action}


def _folders(text: str) -> tuple[Path, ...]:
    return tuple(Path(piece) for piece in text.split(os.pathsep) if piece)


def _names(folders: Sequence[Path]) -> dict[str, Path]:
    """Name of a bundle's folder → where it lies; of two alike the first."""
    return dict(sorted({p.name: p for p in reversed(places(folders))}.items()))


def _chosen(asked: argparse.Namespace) -> dict[str, Path]:
    """Those that were named, or all that there are."""
    there = _names(asked.bundles)
    return {name: there.get(name, asked.bundles[0] / name) for name in asked.names or there}


def _pieces(option: str) -> list[str]:
    """Pairs may be separated by commas; a comma within a class's name is left alone."""
    pieces = option.split(",")
    return pieces if all("=" in piece for piece in pieces) else [option]


def _pair(text: str) -> tuple[str, int]:
    name, separator, number = text.rpartition("=")
    if not separator or not number.isdigit():
        raise BundleInvalid(f"'{text}' is not of the form CLASS=NUMBER.", "Write kidney=200.")
    return name, int(number)
