"""Bundles with random weights: their time and memory are those of trained ones.

The two networks have the size of TotalSegmentator v2's published models (Wasserthal et al. 2023):
the 3 mm model with 118 outputs and 16.6 million parameters, and one of the five 1.5 mm part
models with 25 outputs and 31.2 million.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from nephra_contract.results import sha256
from nephra_nnunet.architecture import Architecture, Triple, read_architecture
from nephra_nnunet.backends import Weights
from nephra_nnunet.bench.checkpoint_file import write_checkpoint

_WINDOW = {"mean": -370.0, "std": 436.6, "percentile_00_5": -1024.0, "percentile_99_5": 276.0}


@dataclass(frozen=True)
class Size:
    """How large a network is.

    Args:
        spacing_mm: that it works at.
        patch: tile in voxels.
        stages: resolutions; features double from 32 up to 320.
        heads: outputs.
    """

    spacing_mm: float
    patch: Triple
    stages: int
    heads: int


SIZES: Mapping[str, Size] = {
    "118-classes": Size(3.0, (112, 112, 128), 5, 118),
    "25-classes": Size(1.5, (128, 128, 128), 6, 25),
}


def make_bundle(folder: Path, size: Size, seed: int = 0) -> Path:
    """Write a bundle of that size that both stock nnU-Net and nephra load; gives its folder."""
    folder.mkdir(parents=True)
    classes = {f"structure_{n}": n for n in range(1, size.heads)}
    dataset = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **classes},
        "file_ending": ".nii.gz",
    }
    plans = make_plans(size)
    (folder / "dataset.json").write_text(json.dumps(dataset))
    (folder / "plans.json").write_text(json.dumps(plans))
    architecture = read_architecture(plans["configurations"]["3d_fullres"], 1, size.heads)
    weights = random_weights(architecture, seed)
    path = folder / "fold_0" / "checkpoint_final.pth"
    write_checkpoint(path, weights, architecture=architecture)
    files = ("dataset.json", "plans.json", "fold_0/checkpoint_final.pth")
    manifest = {
        "name": folder.name,
        "task": "totalseg",
        "default": True,
        "channels": [["A", "P", "D"]],
        # Numbers stand for themselves: labels are compared, not looked at.
        "labels": {name: number if number <= 117 else None for name, number in classes.items()},
        "files": {f: sha256(folder / f) for f in files},
    }
    (folder / "bundle.yaml").write_text(yaml.safe_dump(manifest))
    return folder


def make_plans(size: Size) -> dict[str, Any]:
    """nnU-Net's plans of such a network, in the old format, which all versions read."""
    how = {"is_seg": False, "order_z": 0, "force_separate_z": None}
    resize = "resample_data_or_seg_to_shape"
    halving = [[1, 1, 1], *([2, 2, 2] for _ in range(size.stages - 1))]
    return {
        "dataset_name": "Dataset001_Random",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [size.spacing_mm] * 3,
        "original_median_shape_after_transp": [200, 200, 200],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            "0": {**_WINDOW, "min": -1024.0, "max": 3000.0, "median": -450.0}
        },
        "configurations": {
            "3d_fullres": {
                "data_identifier": "nnUNetPlans_3d_fullres",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 2,
                "patch_size": list(size.patch),
                "median_image_size_in_voxels": [200, 200, 200],
                "spacing": [size.spacing_mm] * 3,
                "normalization_schemes": ["CTNormalization"],
                "use_mask_for_norm": [False],
                "UNet_class_name": "PlainConvUNet",
                "UNet_base_num_features": 32,
                "n_conv_per_stage_encoder": [2] * size.stages,
                "n_conv_per_stage_decoder": [2] * (size.stages - 1),
                "num_pool_per_axis": [size.stages - 1] * 3,
                "pool_op_kernel_sizes": halving,
                "conv_kernel_sizes": [[3, 3, 3]] * size.stages,
                "unet_max_num_features": 320,
                "resampling_fn_data": resize,
                "resampling_fn_seg": resize,
                "resampling_fn_data_kwargs": {**how, "order": 3},
                "resampling_fn_seg_kwargs": {**how, "is_seg": True, "order": 1},
                "resampling_fn_probabilities": resize,
                "resampling_fn_probabilities_kwargs": {**how, "order": 1},
                "batch_dice": True,
            }
        },
    }


def random_weights(architecture: Architecture, seed: int) -> Weights:
    """Weights with which layers neither die nor explode (He et al. 2015)."""
    draw = np.random.default_rng(seed)
    weights = {}
    for name, shape in architecture.shapes().items():
        values = draw.standard_normal(shape, dtype=np.float32)
        if name.endswith("norm.weight"):
            values = 1 + np.float32(0.2) * values
        elif name.endswith("bias"):
            values *= np.float32(0.3)
        else:
            values *= np.float32(np.sqrt(2 / np.prod(shape[1:])))
        weights[name] = values
    return weights
