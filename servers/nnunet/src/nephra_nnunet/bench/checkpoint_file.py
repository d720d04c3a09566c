"""Writes PyTorch checkpoints of nnU-Net without PyTorch."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nephra_nnunet.architecture import Architecture
from nephra_nnunet.backends import Weights

_PARTS = {".conv.": ".all_modules.0.", ".norm.": ".all_modules.1."}


def write_checkpoint(
    path: Path,
    weights: Weights,
    configuration: str = "3d_fullres",
    extra: bytes = b"",
    architecture: Architecture | None = None,
) -> None:
    """Write a checkpoint.

    Args:
        path: where; folders are made.
        weights: the network's tensors, as `Architecture.shapes` names them.
        configuration: of the plans.
        extra: opcodes that put one more key and value on the pickle's stack.
        architecture: of the network; with it, stock nnU-Net loads the checkpoint too.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = {**weights, **(_deep_supervision(architecture) if architecture else {})}
    numbers = {name: str(number) for number, name in enumerate(stored)}
    tensors = b"".join(
        text(alias) + _tensor(numbers[name], stored[name])
        for name in stored
        for alias in _aliases(name)
    )
    content = (
        b"\x80\x02}("
        + text("network_weights") + b"ccollections\nOrderedDict\n)R(" + tensors + b"u"
        + text("trainer_name") + text("nnUNetTrainer")
        + text("init_args") + b"}(" + text("configuration") + text(configuration) + b"u"
        + text("inference_allowed_mirroring_axes") + b"(K\x00K\x01K\x02t"
        + extra + b"u."
    )  # fmt: skip
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("checkpoint/data.pkl", content)
        archive.writestr("checkpoint/byteorder", b"little")
        archive.writestr("checkpoint/version", b"3\n")
        for name, values in stored.items():
            raw = np.ascontiguousarray(values, "<f4").tobytes()
            archive.writestr(f"checkpoint/data/{numbers[name]}", raw)


def text(value: str) -> bytes:
    """The opcodes of a string."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def _deep_supervision(architecture: Architecture) -> Mapping[str, NDArray[np.float32]]:
    """The heads of the coarser stages: training needs them, inference only their presence."""
    heads: dict[str, NDArray[np.float32]] = {}
    for step in range(architecture.stages - 2):
        name = f"decoder.seg_layers.{step}"
        features = architecture.features[-step - 2]
        heads[f"{name}.weight"] = np.zeros((architecture.heads, features, 1, 1, 1), np.float32)
        heads[f"{name}.bias"] = np.zeros(architecture.heads, np.float32)
    return heads


def _aliases(name: str) -> Iterator[str]:
    """The names under which nnU-Net's state dict holds one and the same tensor."""
    names = [name]
    for part, alias in _PARTS.items():
        if part in name:
            names.append(name.replace(part, alias))
    for one in names:
        yield one
        if one.startswith("encoder."):
            yield f"decoder.{one}"


def _number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _numbers(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(_number(v) for v in values) + b"t"


def _tensor(key: str, values: NDArray[np.float32]) -> bytes:
    strides = tuple(s // values.itemsize for s in values.strides)
    storage = (
        b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(key) + text("cpu")
        + _number(values.size) + b"tQ"
    )  # fmt: skip
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + _number(0) + _numbers(values.shape)
        + _numbers(strides) + b"\x89ccollections\nOrderedDict\n)RtR"
    )  # fmt: skip
