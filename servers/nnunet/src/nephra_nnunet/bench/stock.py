"""Runs stock nnU-Net on one image, stage by stage: `python -m nephra_nnunet.bench.stock …`.

Nothing of nnU-Net is changed, but for `--float32-sums`: stock adds up its tiles in half
precision, which alone moves labels; with that option it adds them up in single precision.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nephra_nnunet.bench.stages import Stages


def main(arguments: Sequence[str]) -> int:
    """Run stock on one image; the stages go to a file as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--image", type=Path, action="append", required=True)
    parser.add_argument("--labels", type=Path, required=True, help="Where labels go, .npy.")
    parser.add_argument("--report", type=Path, required=True, help="Where the stages go, .json.")
    parser.add_argument("--folds", nargs="+", default=["0"])
    parser.add_argument("--checkpoint", default="checkpoint_final.pth")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--mirroring", action="store_true")
    parser.add_argument("--float32-sums", action="store_true")
    asked = parser.parse_args(arguments)
    stages = Stages(asked.report)
    labels = run(asked, stages)
    np.save(asked.labels, labels)
    stages.write()
    return 0


def run(asked: argparse.Namespace, stages: Stages) -> Any:
    """(K, J, I) labels, as the dataset numbers them."""
    for folder in ("raw", "preprocessed", "results"):
        os.environ.setdefault(f"nnUNet_{folder}", ".")
    with stages.stage("import"):
        import torch
        from nnunetv2.inference import predict_from_raw_data as stock
    torch.set_num_threads(asked.threads)
    if asked.float32_sums:
        stock.torch = SinglePrecision(torch)
    with stages.stage("load"):
        predictor = stock.nnUNetPredictor(
            device=torch.device("cpu"),
            use_mirroring=asked.mirroring,
            allow_tqdm=False,
            perform_everything_on_device=False,
        )
        folds = tuple(f if f == "all" else int(f) for f in asked.folds)
        predictor.initialize_from_trained_model_folder(str(asked.bundle), folds, asked.checkpoint)
    with stages.stage("read"):
        reader = predictor.plans_manager.image_reader_writer_class()
        image, properties = reader.read_images([str(p) for p in asked.image])
    _measure(predictor.configuration_manager.preprocessor_class, "run_case_npy", "prepare", stages)
    _measure(type(predictor), "predict_logits_from_preprocessed_data", "network", stages)
    _measure(stock, "convert_predicted_logits_to_segmentation_with_correct_shape", "labels", stages)
    return predictor.predict_single_npy_array(image, properties)


class SinglePrecision:
    """The module torch, but what is asked for in half precision is made in single."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._torch, name)

    def zeros(self, *shape: Any, dtype: Any = None, **more: Any) -> Any:
        """`torch.zeros`, never in half precision."""
        single = self._torch.float32 if dtype == self._torch.half else dtype
        return self._torch.zeros(*shape, dtype=single, **more)


def _measure(owner: Any, name: str, stage: str, stages: Stages) -> None:
    """Have a function of stock measured as a stage."""
    function = getattr(owner, name)

    @functools.wraps(function)
    def measured(*given: Any, **named: Any) -> Any:
        with stages.stage(stage):
            return function(*given, **named)

    setattr(owner, name, measured)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
