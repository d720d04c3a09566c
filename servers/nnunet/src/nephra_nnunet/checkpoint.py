"""The weights in a PyTorch checkpoint, read without PyTorch and without running any code in it.

A checkpoint is a zip of one pickle and of raw tensor storages. A pickle is a program; this
reader's machine knows tensors, ordered dictionaries and NumPy scalars, and refuses to look up
anything else. Tensors are left in the file until they are asked for, so that the optimiser's
state, two thirds of a checkpoint, is never read.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nephra_contract.errors import BundleInvalid

_MAX_PICKLE_BYTES = 64 * 2**20
_ACTION = "Take the checkpoint as nnUNetv2_train left it; save it again with a current PyTorch."

#: What parallel and compiled training put before every name.
_WRAPPERS = ("module.", "_orig_mod.")

_STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "<u1",
}


class Storage(NamedTuple):
    """A run of numbers in the zip."""

    key: str
    dtype: str


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies: in which storage, from which element on, with which strides."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint of nnU-Net, its tensors still in the file.

    Args:
        path: the file.
        configuration: the configuration it was trained with, such as `3d_fullres`.
        trainer: the trainer's class.
        mirror_axes: the axes along which test-time mirroring is allowed.
        tensors: where the network's weights lie.
    """

    path: Path
    configuration: str
    trainer: str
    mirror_axes: tuple[int, ...]
    tensors: Mapping[str, StoredTensor]

    def weights(self, names: Iterable[str]) -> dict[str, NDArray[np.float32]]:
        """Read these tensors as float32.

        Raises:
            BundleInvalid: one of them is missing or holds what is no finite number, or the file
                is damaged.
        """
        try:
            with zipfile.ZipFile(self.path) as archive:
                folder = _folder(archive)
                return {n: self._read(archive, folder, n) for n in names}
        except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
            raise _damaged() from error

    def _read(self, archive: zipfile.ZipFile, folder: str, name: str) -> NDArray[np.float32]:
        values = _read_tensor(archive, folder, self._find(name))
        bad = values.size - np.count_nonzero(np.isfinite(values))
        if bad:
            raise BundleInvalid(
                f"The checkpoint's tensor '{name}' holds {bad} values that are not numbers: its "
                "training diverged.",
                "Take an earlier checkpoint, such as checkpoint_best.pth, or train again.",
            )
        return values

    def _find(self, name: str) -> StoredTensor:
        if name not in self.tensors:
            raise BundleInvalid(
                f"The checkpoint holds no tensor '{name}', which the plans ask for.",
                "Take plans.json and checkpoint from one and the same training.",
            )
        return self.tensors[name]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read what a checkpoint says of itself, and where its tensors are.

    Raises:
        BundleInvalid: no PyTorch zip, or a pickle that needs more than tensors and numbers.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            content = _unpickle(archive, _folder(archive))
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise _damaged() from error
    weights = content.get("network_weights") if isinstance(content, Mapping) else None
    if not isinstance(weights, Mapping) or not weights:
        raise BundleInvalid("The checkpoint holds no network weights of nnU-Net.", _ACTION)
    initial = content.get("init_args")
    configuration = initial.get("configuration") if isinstance(initial, Mapping) else None
    return Checkpoint(
        path=path,
        configuration=str(configuration or "3d_fullres"),
        trainer=str(content.get("trainer_name", "")),
        mirror_axes=_mirror_axes(content),
        tensors={
            _plain_name(str(name)): tensor
            for name, tensor in weights.items()
            if isinstance(tensor, StoredTensor)
        },
    )


def _mirror_axes(content: Mapping[str, Any]) -> tuple[int, ...]:
    """The axes that mirroring is allowed over; old checkpoints call them `mirror_axes`."""
    value = content.get("inference_allowed_mirroring_axes", content.get("mirror_axes"))
    axes = value if isinstance(value, (tuple, list)) else ()
    if any(axis not in (0, 1, 2) for axis in axes):
        raise BundleInvalid("The checkpoint names axes to mirror over that are none.", _ACTION)
    return tuple(sorted({int(axis) for axis in axes}))


def _plain_name(name: str) -> str:
    """Names without what parallel or compiled training puts before them."""
    while name.startswith(_WRAPPERS):
        name = name.partition(".")[2]
    return name


def _folder(archive: zipfile.ZipFile) -> str:
    found = [n for n in archive.namelist() if n.count("/") == 1 and n.endswith("/data.pkl")]
    if len(found) != 1:
        raise _damaged()
    folder = found[0].removesuffix("data.pkl")
    order = f"{folder}byteorder"
    if order in archive.namelist() and archive.read(order).strip() != b"little":
        raise BundleInvalid("The checkpoint was written on a big-endian machine.", _ACTION)
    return folder


def _read_tensor(
    archive: zipfile.ZipFile, folder: str, tensor: StoredTensor
) -> NDArray[np.float32]:
    raw = archive.read(f"{folder}data/{tensor.storage.key}")
    if tensor.storage.dtype == "bfloat16":
        # bfloat16 is the upper half of a float32.
        flat = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    else:
        flat = np.frombuffer(raw, tensor.storage.dtype)
    last = tensor.offset + sum(
        (n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True)
    )
    if tensor.offset < 0 or min(tensor.strides, default=0) < 0 or last >= flat.size:
        raise ValueError("tensor outside of its storage")
    steps = tuple(s * flat.itemsize for s in tensor.strides)
    view = np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, steps)
    return np.ascontiguousarray(view, dtype=np.float32)


def _unpickle(archive: zipfile.ZipFile, folder: str) -> Any:
    if archive.getinfo(f"{folder}data.pkl").file_size > _MAX_PICKLE_BYTES:
        raise _damaged()
    try:
        return _Unpickler(io.BytesIO(archive.read(f"{folder}data.pkl"))).load()
    except BundleInvalid:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        raise _damaged() from error


class _Unpickler(pickle.Unpickler):
    """Looks up nothing but the names below, each bound to code of this module."""

    def find_class(self, module: str, name: str, /) -> Any:
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        raise BundleInvalid(
            f"The checkpoint asks for '{module}.{name}', which is more than tensors and numbers; "
            "it is not opened, because such a file can run code.",
            _ACTION,
        )

    def persistent_load(self, pid: Any, /) -> Storage:
        kind, dtype, key, *_ = pid
        if kind != "storage" or not isinstance(dtype, str) or not isinstance(key, str):
            raise _damaged()
        return Storage(key, dtype)


class _Inert:
    """Stands for a value that inference does not need; takes any state, and does nothing."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _Dtype:
    """A NumPy dtype in the pickle, reduced to its name."""

    def __init__(self, name: str, *_: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        pass


def _tensor(
    storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> StoredTensor:
    return StoredTensor(storage, int(offset), tuple(shape), tuple(strides))


def _parameter(tensor: StoredTensor, *_: Any) -> StoredTensor:
    return tensor


def _scalar(dtype: _Dtype, raw: bytes = b"") -> Any:
    if dtype.name.lstrip("<|=")[:1] not in "biuf":
        raise _damaged()
    return np.frombuffer(raw, dtype.name, count=1)[0]


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":
        raise _damaged()
    return text.encode("latin1")


_KNOWN: Mapping[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "device"): _Inert,
    ("torch", "Size"): tuple,
    ("numpy", "dtype"): _Dtype,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
    ("_codecs", "encode"): _encode,
}


def _damaged() -> BundleInvalid:
    return BundleInvalid("The checkpoint is no PyTorch checkpoint, or it is damaged.", _ACTION)
