"""Plans in nnU-Net's own format, set by hand: small plain U-Nets for a CPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nephra_phantom.bundles.dataset import READER
from nephra_phantom.bundles.tasks import Task
from nephra_phantom.grid import FIELD_OF_VIEW_MM

PLANS_NAME = "nephraPlans"
CONFIGURATION = "3d_fullres"
_RESAMPLING = "resample_data_or_seg_to_shape"


def write_plans(task: Task, preprocessed: Path) -> Path:
    """Write the plans beside the fingerprint that nnU-Net extracted; returns their path."""
    folder = preprocessed / task.dataset_name
    fingerprint = json.loads((folder / "dataset_fingerprint.json").read_text())
    size = [round(extent / task.spacing_mm) for extent in reversed(FIELD_OF_VIEW_MM)]
    plans = {
        "dataset_name": task.dataset_name,
        "plans_name": PLANS_NAME,
        "original_median_spacing_after_transp": [task.spacing_mm] * 3,
        "original_median_shape_after_transp": size,
        "image_reader_writer": READER,
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "experiment_planner_used": "nephra_phantom",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": fingerprint[
            "foreground_intensity_properties_per_channel"
        ],
        "configurations": {CONFIGURATION: _configuration(task, size)},
    }
    path = folder / f"{PLANS_NAME}.json"
    path.write_text(json.dumps(plans, indent=2) + "\n")
    return path


def _configuration(task: Task, size: list[int]) -> dict[str, Any]:
    channels = len(task.inputs)
    return {
        "data_identifier": f"{PLANS_NAME}_{CONFIGURATION}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [task.patch] * 3,
        "median_image_size_in_voxels": [float(n) for n in size],
        "spacing": [task.spacing_mm] * 3,
        "normalization_schemes": ["CTNormalization"] * channels,
        "use_mask_for_norm": [False] * channels,
        "resampling_fn_data": _RESAMPLING,
        "resampling_fn_seg": _RESAMPLING,
        "resampling_fn_data_kwargs": _resampling(is_seg=False, order=3),
        "resampling_fn_seg_kwargs": _resampling(is_seg=True, order=1),
        "resampling_fn_probabilities": _RESAMPLING,
        "resampling_fn_probabilities_kwargs": _resampling(is_seg=False, order=1),
        "architecture": _architecture(task),
        "batch_dice": True,
    }


def _resampling(*, is_seg: bool, order: int) -> dict[str, Any]:
    return {"is_seg": is_seg, "order": order, "order_z": 0, "force_separate_z": None}


def _architecture(task: Task) -> dict[str, Any]:
    stages = len(task.features)
    return {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": list(task.features),
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[3, 3, 3]] * stages,
            "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
            "n_conv_per_stage": [2] * stages,
            "n_conv_per_stage_decoder": [1] * (stages - 1),
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
