"""``python -m nephra_phantom.bundles``: make, export or evaluate the demo bundles."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from nephra_phantom.bundles.real_ct import RealCt
from nephra_phantom.bundles.tasks import TASKS


def main(arguments: list[str] | None = None) -> None:
    """Run the wanted steps for the wanted tasks, one after another."""
    options = _parser().parse_args(arguments)
    real = _real(options.real_ct)
    steps = ["prepare", "train", "export", "evaluate"] if options.step == "all" else [options.step]
    for step in steps:
        for name in options.task or list(TASKS):
            _run(step, name, options, real)


def _run(step: str, name: str, options: argparse.Namespace, real: RealCt | None) -> None:
    from nephra_phantom.bundles import training

    training.set_folders(options.work)
    task = TASKS[name]
    if step == "prepare":
        training.prepare(task, options.work, real, options.processes)
    elif step == "train":
        training.train(task, options.work, options.minutes * 60, options.threads)
    elif step == "export":
        from nephra_phantom.bundles.export import export

        export(task, training.trained_folder(task, options.work), options.bundles, real)
    else:
        from nephra_phantom.bundles.evaluation import evaluate

        evaluate(task, options.bundles, real, options.grids, options.cases, options.threads)


def _real(folder: Path | None) -> RealCt | None:
    if folder is None or not RealCt(folder).complete:
        print(  # noqa: T201
            "No real CT given (--real-ct or NEPHRA_REAL_CT): totalseg learns from phantoms only."
        )
        return None
    return RealCt(folder)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m nephra_phantom.bundles", description=__doc__)
    parser.add_argument(
        "step", nargs="?", default="all", choices=["all", "prepare", "train", "export", "evaluate"]
    )
    given = os.environ.get("NEPHRA_REAL_CT")
    parser.add_argument("--task", action="append", choices=list(TASKS), help="all if not given")
    parser.add_argument("--work", type=Path, default=Path("demo-training"), help="working folder")
    parser.add_argument("--bundles", type=Path, default=Path("bundles"), help="where bundles go")
    parser.add_argument("--real-ct", type=Path, default=Path(given) if given else None)
    parser.add_argument("--minutes", type=float, default=28.0, help="training time per task")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--cases", type=int, default=8, help="unseen phantoms to measure on")
    parser.add_argument(
        "--grids", nargs="+", default=["small", "large"], help="presets to measure on"
    )
    return parser


if __name__ == "__main__":
    main()
