"""Tiny nnU-Nets, made without PyTorch: checkpoints in its file format, with random weights."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from nephra_contract.nifti import write_image
from nephra_contract.volume import Volume
from nephra_nnunet.architecture import read_architecture
from nephra_nnunet.bench.checkpoint_file import text, write_checkpoint
from nephra_nnunet.bench.random_bundles import random_weights

MakeBundle = Callable[..., Path]

CLASSES: dict[str, dict[str, int]] = {
    "totalseg": {"liver": 5, "kidney": 200},
    "vessel": {"kidney": 200, "artery": 203, "vein": 204},
    "ureter": {"kidney": 200, "ureter": 205},
    "tumor": {"kidney": 200, "tumor": 201},
}
CHANNELS: dict[str, list[Any]] = {
    "totalseg": [["A", "P", "D"]],
    "vessel": ["A", "P"],
    "ureter": ["D"],
    "tumor": [["A", "P", "D"]],
}


UNET = "dynamic_network_architectures.architectures.unet"


def make_plans(
    channels: int = 1,
    spacing: tuple[float, ...] = (3.0, 3.0, 3.0),
    patch: tuple[int, ...] = (16, 16, 16),
    scheme: str | Sequence[str] = "CTNormalization",
    kind: str = "plain",
    transpose: tuple[int, ...] = (0, 1, 2),
    strides: tuple[tuple[int, ...], ...] = ((1, 1, 1), (2, 2, 2), (1, 2, 2)),
    masked: bool | Sequence[bool] = False,
    apart: bool | None = None,
    network: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Plans in the new format, of a network with three small stages.

    Args:
        channels: of the image.
        spacing, patch, transpose: as the plans say them.
        scheme: of normalisation, one for all channels or one for each.
        kind: plain or residual.
        strides: per stage.
        masked: `use_mask_for_norm`, one for all channels or one for each.
        apart: `force_separate_z`.
        network: members of `arch_kwargs` that differ.
    """
    fingerprint = {"mean": 60.0, "std": 120.0, "percentile_00_5": -300.0, "percentile_99_5": 400.0,
                   "min": -1000.0, "max": 2000.0, "median": 50.0}  # fmt: skip
    how = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": apart}
    configuration = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(patch),
        "median_image_size_in_voxels": [40, 40, 40],
        "spacing": list(spacing),
        "normalization_schemes": [scheme] * channels if isinstance(scheme, str) else list(scheme),
        "use_mask_for_norm": [masked] * channels if isinstance(masked, bool) else list(masked),
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": how,
        "resampling_fn_seg_kwargs": {**how, "is_seg": True, "order": 1},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {**how, "order": 1},
        "batch_dice": True,
        "architecture": make_architecture(kind, strides, network or {}),
    }
    return {
        "dataset_name": "Dataset001_Tiny",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": list(spacing),
        "original_median_shape_after_transp": [40, 40, 40],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": list(transpose),
        "transpose_backward": [transpose.index(a) for a in range(3)],
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            str(c): fingerprint for c in range(channels)
        },
        "configurations": {"3d_fullres": configuration},
    }


def make_architecture(
    kind: str, strides: Sequence[Sequence[int]], network: Mapping[str, Any]
) -> dict[str, Any]:
    """`architecture` of a configuration; see `make_plans`."""
    depths = "n_conv_per_stage" if kind == "plain" else "n_blocks_per_stage"
    name = "PlainConvUNet" if kind == "plain" else "ResidualEncoderUNet"
    stages = len(strides)
    return {
        "network_class_name": f"{UNET}.{name}",
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": [4, 6, *[8] * stages][:stages],
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[1, 3, 3], *[[3, 3, 3]] * (stages - 1)],
            "strides": [list(s) for s in strides],
            depths: [2] * stages,
            "n_conv_per_stage_decoder": [2, *[1] * stages][: stages - 1],
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-5, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
            **network,
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def in_old_format(plans: dict[str, Any]) -> dict[str, Any]:
    """The same plans as nnU-Net wrote them before version 2.4, features doubling to a most."""
    configuration = dict(plans["configurations"]["3d_fullres"])
    described = configuration.pop("architecture")
    keywords = described["arch_kwargs"]
    name = described["network_class_name"].rsplit(".", 1)[-1]
    depths = "n_conv_per_stage" if name == "PlainConvUNet" else "n_blocks_per_stage"
    strides = keywords["strides"]
    configuration |= {
        "UNet_class_name": name,
        "UNet_base_num_features": keywords["features_per_stage"][0],
        "unet_max_num_features": keywords["features_per_stage"][-1],
        "n_conv_per_stage_encoder": keywords[depths],
        "n_conv_per_stage_decoder": keywords["n_conv_per_stage_decoder"],
        "num_pool_per_axis": [sum(s[a] == 2 for s in strides) for a in range(3)],
        "pool_op_kernel_sizes": strides,
        "conv_kernel_sizes": keywords["kernel_sizes"],
    }
    return {**plans, "configurations": {"3d_fullres": configuration}}


def make_dataset(classes: Mapping[str, Any], channels: int = 1, **more: Any) -> dict[str, Any]:
    """`dataset.json` of these classes, numbered from 1."""
    labels = {"background": 0, **{c: n + 1 for n, c in enumerate(classes)}}
    names = {str(c): "CT" for c in range(channels)}
    return {"channel_names": names, "labels": labels, "file_ending": ".nii.gz", **more}


def seal(folder: Path, **manifest: Any) -> None:
    """Write `bundle.yaml` with the sha256 of what lies in the folder."""
    files = {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != "bundle.yaml"
    }
    (folder / "bundle.yaml").write_text(yaml.safe_dump({**manifest, "files": files}))


@pytest.fixture
def make_bundle(tmp_path: Path) -> MakeBundle:
    """Makes a bundle in `tmp_path/bundles`."""

    def make(
        task: str = "tumor",
        name: str | None = None,
        seed: int = 1,
        plans: dict[str, Any] | None = None,
        dataset: dict[str, Any] | None = None,
        folds: int = 1,
        **manifest: Any,
    ) -> Path:
        channels = CHANNELS[task]
        plans = plans or make_plans(len(channels))
        dataset = dataset or make_dataset(CLASSES[task], len(channels))
        folder = tmp_path / "bundles" / (name or task)
        folder.mkdir(parents=True)
        (folder / "plans.json").write_text(json.dumps(plans))
        (folder / "dataset.json").write_text(json.dumps(dataset))
        heads = len([label for label in dataset["labels"] if label != "ignore"])
        heads -= "regions_class_order" in dataset
        architecture = read_architecture(
            plans["configurations"]["3d_fullres"], len(channels), heads
        )
        for fold in range(folds):
            path = folder / f"fold_{fold}" / "checkpoint_final.pth"
            weights = random_weights(architecture, seed + fold)
            write_checkpoint(path, weights, architecture=architecture)
        said = {
            "name": folder.name, "task": task, "default": name is None, "channels": channels,
            "labels": CLASSES[task], "folds": list(range(folds)), "licence": "Apache-2.0",
        }  # fmt: skip
        seal(folder, **{**said, **manifest})
        return folder

    return make


def make_ct(
    shape: tuple[int, int, int] = (30, 34, 26),
    spacing: tuple[float, float, float] = (2.0, 2.0, 3.0),
    seed: int = 0,
) -> Volume:
    """A noisy body of soft tissue in air, with two bright kidneys and a brighter vessel."""
    draw = np.random.default_rng(seed)
    i, j, k = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    hu = np.where(i**2 + j**2 < 0.8, 40.0, -1000.0)
    for side in (-0.45, 0.45):
        hu[((i - side) / 0.25) ** 2 + (j / 0.3) ** 2 + (k / 0.5) ** 2 < 1] = 180
    hu[(i / 0.1) ** 2 + ((j - 0.3) / 0.1) ** 2 < 1] = 300
    voxels = np.rint(hu + draw.normal(0, 12, shape)).astype(np.int16)
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-30, -34, -40]
    return Volume(np.asfortranarray(voxels), affine)


def save(path: Path, volume: Volume) -> str:
    """Write an image; gives its name in the data root."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, volume)
    return path.name


@pytest.fixture
def data_folder(tmp_path: Path) -> Path:
    """A data root with one patient's phases A, P and D."""
    folder = tmp_path / "data"
    for number, phase in enumerate("APD"):
        save(folder / f"{phase}.nii.gz", make_ct(seed=number))
    return folder


@pytest.fixture
def real_data() -> Path:
    """The folder of real CTs; the test is skipped where it is not there."""
    folder = os.environ.get("NEPHRA_REAL_DATA")
    if not folder:
        pytest.skip("NEPHRA_REAL_DATA is not set")
    return Path(folder)


@pytest.fixture
def tiny() -> Any:
    """What makes small plans, weights, checkpoints and CTs."""
    return SimpleNamespace(
        plans=make_plans,
        in_old_format=in_old_format,
        dataset=make_dataset,
        weights=random_weights,
        checkpoint=write_checkpoint,
        seal=seal,
        ct=make_ct,
        save=save,
        pickled=pickled,
        text=text,
        classes=CLASSES,
    )


def pickled(value: Any) -> bytes:
    """The opcodes of a plain value, without the frame around them."""
    stream = io.BytesIO()
    pickle.Pickler(stream, 2).dump(value)
    return stream.getvalue()[2:-1]
