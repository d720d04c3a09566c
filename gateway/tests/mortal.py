"""A real predictor as a program, whose runs have fates: they finish, wait, or die.

The data root's file `fates` has one word a run, `runs` gets a line when one begins, `through` one
when a held run has been let go by the file `go`.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from nephra_contract.execution import OperationRunner
from nephra_contract.operation import Input, NoParameters, Operation, Outcome
from nephra_contract.paths import DataRoot
from nephra_contract.progress import Progress
from nephra_contract.volume import LabelMap
from nephra_serving.main import main


class Fatal(LabelMap):
    """Kills its process when it is asked for volumes: its file is written by then."""

    def volumes_ml(self) -> dict[int, float]:
        """Never return."""
        _die()
        return {}


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _live(data: Path, progress: Progress) -> str:
    with (data / "runs").open("a") as runs:
        runs.write("begun\n")
        runs.flush()
    number = len((data / "runs").read_text().split())
    fate = (data / "fates").read_text().split()[number - 1]
    progress.advance(0.4, f"run {number}")
    if fate == "die":
        _die()
    if fate == "hold":
        while not (data / "go").exists():
            progress.advance(0.5, "held")
            progress.stop.wait(0.01)
        with (data / "through").open("a") as through:
            through.write("let go\n")
    return fate


def build(data: DataRoot) -> OperationRunner:
    """The runner."""

    def toy(labels: LabelMap, parameters: NoParameters, progress: Progress) -> Outcome:
        fate = _live(data.root, progress)
        kind = Fatal if fate == "die-writing" else LabelMap
        return Outcome(kind(labels.voxels, labels.affine), {"fate": fate})

    mask = Input("mask_path", "mask", "A mask.")
    return OperationRunner.of(
        "mortal", (Operation("mortal/toy", (mask,), NoParameters, toy),), data, 10**6
    )


if __name__ == "__main__":
    sys.exit(main("mortal", build))
