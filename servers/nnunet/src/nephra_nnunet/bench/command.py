"""`python -m nephra_nnunet bench`: nephra beside stock nnU-Net on one image and model."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from nephra_contract.errors import NephraError, RequestInvalid
from nephra_contract.messages import Problem
from nephra_contract.nifti_header import read_header
from nephra_nnunet.bench.agreement import agree
from nephra_nnunet.bench.interpreters import stock_python
from nephra_nnunet.bench.libraries import own_versions, versions_of
from nephra_nnunet.bench.models import open_model
from nephra_nnunet.bench.random_bundles import SIZES
from nephra_nnunet.bench.runs import FLOAT32, NEPHRA, STOCK, Runs, Wish, carry_out, whole
from nephra_nnunet.bench.table import write_growth, write_table
from nephra_serving.cost import describe_machine

_FIRST_SIZE = next(iter(SIZES))


def main(arguments: Sequence[str]) -> int:
    """Run the benchmark, and print its table.

    Args:
        arguments: behind `bench`.

    Returns:
        0; 2 if it cannot be run, with the problem as JSON on standard error.
    """
    asked = _parser().parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="nephra-bench-") as folder:
            report, text = _run(asked, Path(folder))
    except NephraError as error:
        sys.stderr.write(json.dumps(Problem.of(error).model_dump(mode="json")) + "\n")
        return 2
    sys.stdout.write(text)
    if asked.json is not None:
        asked.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nephra_nnunet bench",
        description="Runs stock nnU-Net and nephra on the same image and model, each in a process "
        "of its own, and prints what both cost and where their labels differ.",
    )
    model = parser.add_mutually_exclusive_group()
    model.add_argument(
        "--bundle", type=Path, metavar="DIR", help="a bundle, or what nnUNetv2_train left"
    )
    model.add_argument(
        "--size", choices=tuple(SIZES), help=f"random weights; default: {_FIRST_SIZE}"
    )
    parser.add_argument(
        "--image", type=Path, action="append", required=True, help="NIfTI; one per channel"
    )
    parser.add_argument(
        "--longer",
        type=Path,
        metavar="FILE",
        help="measure nephra's memory on this image too, and what it grows by; no stock",
    )
    parser.add_argument("--only", choices=(NEPHRA, STOCK), help="leave the other one out")
    parser.add_argument(
        "--float32-sums",
        action="store_true",
        help="run stock a second time, its tiles summed in single instead of half precision",
    )
    parser.add_argument("--stock-python", type=Path, metavar="PATH", help="has torch and nnunetv2")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--mirroring", action="store_true", help="average mirrored predictions")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="default: 1")
    parser.add_argument("--backend", choices=("openvino", "torch"), default="openvino")
    parser.add_argument("--device", default="cpu", help="of nephra's torch; default: cpu")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    return parser


def _run(asked: argparse.Namespace, work: Path) -> tuple[dict[str, Any], str]:
    """The report and its text."""
    if asked.repeat < 1 or asked.threads < 1:
        raise RequestInvalid("--repeat and --threads count from 1.", "Give a larger number.")
    images = [path.resolve() for path in asked.image]
    shown = [_describe(p) for p in images]
    who = _who(asked)
    model = open_model(asked.bundle, asked.size or _FIRST_SIZE, work)
    if len(model.bundle.manifest.channels) != len(images):
        raise RequestInvalid(
            f"The model takes {len(model.bundle.manifest.channels)} channels, "
            f"--image was given {len(images)} times.",
            "Give one image per channel.",
        )
    wish = Wish(
        model=model,
        images=images,
        who=who,
        stock=stock_python(asked.stock_python) if set(who) - {NEPHRA} else None,
        threads=asked.threads,
        mirroring=asked.mirroring,
        backend=asked.backend,
        device=asked.device,
        repeat=asked.repeat,
    )
    if asked.longer is not None:
        return measure_growth(wish, shown, asked.longer.resolve(), work)
    return measure(wish, shown, work)


def _who(asked: argparse.Namespace) -> list[str]:
    if asked.longer is not None or asked.only == NEPHRA:
        return [NEPHRA]
    stock = [FLOAT32, STOCK] if asked.float32_sums else [STOCK]
    return stock if asked.only == STOCK else [NEPHRA, *stock]


def measure(wish: Wish, images: list[dict[str, Any]], work: Path) -> tuple[dict[str, Any], str]:
    """Run everybody; gives the report and its text.

    The report holds: machine, versions, model, images, threads, mirroring, backend; `runs` by
    who; `ratios` of stock's figures to nephra's; `agreement` of each two that left labels.
    """
    runs: dict[str, Runs] = {}
    for who, done in carry_out(wish, work):
        runs[who] = done
        sys.stderr.write(f"{who}: {done.spread('cpu_s')[0]:.1f} CPU seconds\n")
    report = {
        **_head(wish, images),
        "runs": {who: done.named() for who, done in runs.items()},
        "ratios": whole(runs),
        "agreement": _agreements(runs),
    }
    return report, write_table(report)


def measure_growth(
    wish: Wish, images: list[dict[str, Any]], longer: Path, work: Path
) -> tuple[dict[str, Any], str]:
    """Run nephra on a short and on a long image; gives the report and its text.

    The report holds what `measure` says of the machine and the model, `growth` with the runs on
    either image, and the `ratio` of their peaks.
    """
    runs = []
    for number, paths in enumerate((wish.images, [longer] * len(wish.images))):
        folder = work / str(number)
        folder.mkdir()
        runs += [done for _, done in carry_out(replace(wish, images=paths), folder)]
    if any(r.killed for r in runs):
        raise RequestInvalid(
            "nephra was killed for want of memory.", "Measure on a larger machine."
        )
    short, long = (r.spread("peak_mib")[0] for r in runs)
    report = {
        **_head(wish, [images[0], _describe(longer)]),
        "growth": [r.named() for r in runs],
        "ratio": long / short,
    }
    return report, write_growth(report)


def _head(wish: Wish, images: list[dict[str, Any]]) -> dict[str, Any]:
    versions = {NEPHRA: own_versions()}
    if wish.stock is not None:
        versions[STOCK] = versions_of(wish.stock)
    return {
        "machine": describe_machine(),
        "versions": versions,
        "model": wish.model.named(),
        "images": images,
        "threads": wish.threads,
        "mirroring": wish.mirroring,
        "backend": wish.backend,
    }


def _describe(path: Path) -> dict[str, Any]:
    """Shape and spacing of an image.

    Raises:
        RequestInvalid: it is not there.
        NephraError: it is no image.
    """
    if not path.is_file():
        raise RequestInvalid(f"There is no image '{path.name}'.", "Name a NIfTI file.")
    header = read_header(path)
    spacing_mm = np.linalg.norm(header.affine[:3, :3], axis=0)
    return {"shape": list(header.shape), "spacing_mm": [round(float(s), 4) for s in spacing_mm]}


def _agreements(runs: Mapping[str, Runs]) -> list[dict[str, Any]]:
    left = {who: done.labels for who, done in runs.items() if done.labels is not None}
    return [
        {
            "first": first,
            "second": second,
            **agree(
                np.load(left[first], mmap_mode="r"), np.load(left[second], mmap_mode="r")
            ).named(),
        }
        for first, second in combinations(left, 2)
    ]
