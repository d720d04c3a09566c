"""A small real predictor: run as a script it serves, loaded by conftest it gives its runner."""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from pathlib import Path

import numpy as np
from pydantic import Field

from nephra_contract.errors import BundleInvalid, Cancelled
from nephra_contract.execution import OperationRunner
from nephra_contract.operation import Input, NoParameters, Operation, Outcome, Parameters
from nephra_contract.paths import DataRoot
from nephra_contract.progress import Progress
from nephra_contract.volume import LabelMap
from nephra_serving.main import main

MASK = Input("mask_path", "mask", "Any mask.", many=True)

#: What became of each run of `endless`.
ENDS: list[str] = []
BEGUN = threading.Event()
ENDED = threading.Event()


class Keep(Parameters):
    """Keep the voxels of one label."""

    number: int = Field(3, ge=1, le=215, description="The label that stays.")


def keep(labels: LabelMap, parameters: Keep, progress: Progress) -> Outcome:
    """Zero all but one label."""
    for step in range(100):
        progress.advance(step / 100, "first half" if step < 50 else "second half")
    progress.artifact("early", {"number": parameters.number})
    kept = np.where(labels.voxels == parameters.number, labels.voxels, 0)
    return Outcome(labels.like(kept), {"kept": int(np.count_nonzero(kept))}, ("a toy",))


class Endless(NoParameters):
    """Never ends by itself."""


def endless(labels: LabelMap, parameters: Endless, progress: Progress) -> LabelMap:
    """Advance until told to stop."""
    BEGUN.set()
    print("begun", flush=True)
    try:
        while not progress.stop.wait(0.01):
            progress.advance(0.5, "going round")
        progress.advance(0.5, "going round")
    except Cancelled:
        ENDS.append("cancelled")
        ENDED.set()
        raise
    return labels


class Linger(NoParameters):
    """Ends when the file of TOY_GO is there."""


def linger(labels: LabelMap, parameters: Linger, progress: Progress) -> LabelMap:
    """Advance until the file is there."""
    while not Path(os.environ["TOY_GO"]).exists():
        progress.advance(0.5, "lingering")
        progress.stop.wait(0.01)
    return labels


class Grip(NoParameters):
    """Never ends, and lets no other thread of its process run."""


def grip(labels: LabelMap, parameters: Grip, progress: Progress) -> LabelMap:
    """Count in C, where the interpreter's lock is held and no signal is looked at."""
    progress.advance(0.5, "gripping")
    sum(itertools.repeat(0, 10**15))
    return labels


class Broken(NoParameters):
    """Fails as nobody foresaw."""


def broken(labels: LabelMap, parameters: Broken, progress: Progress) -> LabelMap:
    """Raise an error with a secret in it."""
    raise ZeroDivisionError("/secret/path/patient-name")


OPERATIONS = (
    Operation("toy/keep", (MASK,), Keep, keep),
    Operation("toy/endless", (MASK,), Endless, endless),
    Operation("toy/linger", (MASK,), Linger, linger),
    Operation("toy/grip", (MASK,), Grip, grip),
    Operation("toy/broken", (MASK,), Broken, broken),
)


def build(data: DataRoot) -> OperationRunner:
    """The toy's runner; TOY_BUILD says how its making goes."""
    how = os.environ.get("TOY_BUILD", "")
    if how == "wait":
        while not Path(os.environ["TOY_GO"]).exists():
            time.sleep(0.01)
    if how == "refuse":
        raise BundleInvalid("The toy's bundle is broken.", "Mend it.")
    if how == "break":
        raise ZeroDivisionError("/secret/path")
    return OperationRunner.of("toy", OPERATIONS, data, 10**6)


if __name__ == "__main__":
    sys.exit(main("toy", build))
