"""The runs of a benchmark: who runs, how often, and the labels that each leaves."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nephra_nnunet.bench.interpreters import lend
from nephra_nnunet.bench.models import Model
from nephra_nnunet.bench.trial import Trial, run

FIGURES = ("wall_s", "cpu_s", "request_cpu_s", "peak_mib")
NEPHRA, STOCK, FLOAT32 = "nephra", "stock", "stock with float32 sums"


@dataclass(frozen=True)
class Wish:
    """What is to be run.

    Args:
        model: the network.
        images: one file per channel.
        who: of NEPHRA, STOCK and FLOAT32.
        stock: the Python of stock nnU-Net; needed if it is among `who`.
        threads: of every run.
        mirroring: average over mirrored predictions.
        backend, device: of nephra.
        repeat: how often each is run.
    """

    model: Model
    images: Sequence[Path]
    who: Sequence[str]
    stock: Path | None
    threads: int
    mirroring: bool
    backend: str
    device: str
    repeat: int


@dataclass(frozen=True)
class Runs:
    """The runs of one of them.

    Args:
        trials: in their order.
        labels: what the last one left; None where it was killed.
    """

    trials: list[Trial] = field(default_factory=list)
    labels: Path | None = None

    @property
    def killed(self) -> bool:
        """Whether one of them ended for want of memory."""
        return any(t.outcome == "killed" for t in self.trials)

    def spread(self, figure: str) -> tuple[float, float, float]:
        """Median, lowest and highest of one figure of the trials."""
        values = [float(getattr(t, figure)) for t in self.trials]
        return statistics.median(values), min(values), max(values)

    def named(self) -> dict[str, Any]:
        """As the report says it."""
        figures = {}
        for figure in FIGURES:
            median, lowest, highest = self.spread(figure)
            figures[figure] = {"median": median, "lowest": lowest, "highest": highest}
        return {**figures, "killed": self.killed, "trials": [asdict(t) for t in self.trials]}


def carry_out(wish: Wish, work: Path) -> Iterator[tuple[str, Runs]]:
    """Run everybody in turn; each one's runs are given as soon as they are done."""
    lent = lend(work / "lent")
    for number, who in enumerate(wish.who):
        labels = work / f"labels-{number}.npy"
        report = work / f"report-{number}.json"
        command = _command(who, wish, labels, report)
        trials: list[Trial] = []
        for _ in range(wish.repeat):
            trials.append(run(command, report, {} if who == NEPHRA else lent))
            if trials[-1].outcome == "killed":
                break
        done = trials[-1].outcome == "done"
        yield who, Runs(trials, labels if done else None)


def _command(who: str, wish: Wish, labels: Path, report: Path) -> list[str]:
    images = [word for path in wish.images for word in ("--image", str(path))]
    shared = [
        *("--bundle", str(wish.model.folder), *images, "--labels", str(labels)),
        *("--report", str(report), "--threads", str(wish.threads)),
        *(["--mirroring"] if wish.mirroring else []),
    ]
    if who == NEPHRA:
        how = ["--backend", wish.backend, "--device", wish.device]
        return [sys.executable, "-m", "nephra_nnunet.bench.ours", *shared, *how]
    folds = [str(fold) for fold in wish.model.bundle.manifest.folds]
    sums = ["--float32-sums"] if who == FLOAT32 else []
    module = "nephra_nnunet.bench.stock"
    checkpoint = wish.model.bundle.manifest.checkpoint
    which = ["--folds", *folds, "--checkpoint", checkpoint]
    return [str(wish.stock), "-m", module, *shared, *which, *sums]


def whole(runs: Mapping[str, Runs]) -> dict[str, dict[str, float]]:
    """How many times as much stock takes as nephra: CPU seconds and peak memory, by who."""
    if NEPHRA not in runs:
        return {}
    ours = runs[NEPHRA]
    return {
        who: {figure: other.spread(figure)[0] / ours.spread(figure)[0] for figure in FIGURES}
        for who, other in runs.items()
        if who != NEPHRA
    }
