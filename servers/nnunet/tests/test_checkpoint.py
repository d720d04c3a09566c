from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nephra_contract.errors import BundleInvalid
from nephra_nnunet.checkpoint import read_checkpoint

WEIGHTS = {
    "a.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "b.bias": np.array([0.5, -1.5], dtype=np.float32),
}


def test_weights_come_back_as_they_were_stored(tmp_path: Path, tiny: Any) -> None:
    """Values and shapes survive, and so does what the checkpoint says of itself."""
    tiny.checkpoint(tmp_path / "c.pth", WEIGHTS, "3d_lowres")
    checkpoint = read_checkpoint(tmp_path / "c.pth")
    read = checkpoint.weights(WEIGHTS)
    assert all(np.array_equal(read[n], w) for n, w in WEIGHTS.items())
    assert (checkpoint.configuration, checkpoint.trainer) == ("3d_lowres", "nnUNetTrainer")
    assert checkpoint.mirror_axes == (0, 1, 2)


def test_strided_tensors_are_read_in_their_own_order(tmp_path: Path, tiny: Any) -> None:
    """A transposed tensor lies transposed in its storage."""
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    tiny.checkpoint(tmp_path / "c.pth", {"w": turned})
    # The writer stores rows first while the strides say otherwise: the reader follows strides.
    flat = np.ascontiguousarray(turned).ravel()
    expected = np.array([[flat[0], flat[3]], [flat[1], flat[4]], [flat[2], flat[5]]])
    assert np.array_equal(read_checkpoint(tmp_path / "c.pth").weights(["w"])["w"], expected)


@pytest.mark.parametrize(
    "code",
    [
        b"cposix\nsystem\n(X\x04\x00\x00\x00truetR",
        b"cbuiltins\neval\n(X\x01\x00\x00\x001tR",
        b"cos\ngetcwd\n)R",
        b"cnumpy\nfromfile\n(X\x0b\x00\x00\x00/etc/passwdtR",
        b"cnephra_nnunet.checkpoint\nread_checkpoint\n)R",
    ],
)
def test_a_pickle_that_wants_more_than_tensors_is_refused(
    code: bytes, tmp_path: Path, tiny: Any
) -> None:
    """Code in a checkpoint is never run: its very name is refused."""
    tiny.checkpoint(tmp_path / "c.pth", WEIGHTS, extra=tiny.text("payload") + code)
    with pytest.raises(BundleInvalid, match="can run code"):
        read_checkpoint(tmp_path / "c.pth")


def test_numpy_scalars_and_devices_of_training_are_understood(tmp_path: Path, tiny: Any) -> None:
    """nnU-Net keeps losses as NumPy scalars, and the device it trained on."""
    log = tiny.text("logging") + tiny.pickled({"loss": [np.float64(0.5)], "epoch": 3})
    device = tiny.text("device") + b"ctorch\ndevice\n(" + tiny.text("cuda") + b"K\x00tR"
    tiny.checkpoint(tmp_path / "c.pth", WEIGHTS, extra=log + device)
    assert set(read_checkpoint(tmp_path / "c.pth").tensors) == set(WEIGHTS)


def test_a_missing_tensor_is_named(tmp_path: Path, tiny: Any) -> None:
    """The error says which one the plans ask for."""
    tiny.checkpoint(tmp_path / "c.pth", WEIGHTS)
    with pytest.raises(BundleInvalid, match="no tensor 'z'"):
        read_checkpoint(tmp_path / "c.pth").weights(["z"])


def test_a_damaged_file_is_refused(tmp_path: Path, tiny: Any) -> None:
    """No zip, a cut zip, a zip of something else, a pickle that ends early."""
    path = tmp_path / "c.pth"
    tiny.checkpoint(path, WEIGHTS)
    whole = path.read_bytes()
    for content in (b"", b"not a zip", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(BundleInvalid):
            read_checkpoint(path)
    for pickle in (b"", b"\x80\x02}q", b"\x80\x02K\x01."):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("checkpoint/data.pkl", pickle)
        with pytest.raises(BundleInvalid):
            read_checkpoint(path)


def test_a_storage_shorter_than_its_tensor_is_refused(tmp_path: Path, tiny: Any) -> None:
    """Strides never reach out of the bytes that are there."""
    path = tmp_path / "c.pth"
    tiny.checkpoint(path, WEIGHTS)
    with zipfile.ZipFile(path) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    members["checkpoint/data/0"] = members["checkpoint/data/0"][:-4]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(BundleInvalid, match="damaged"):
        read_checkpoint(path).weights(WEIGHTS)


@pytest.mark.parametrize(
    ("members", "axes"),
    [
        ({"inference_allowed_mirroring_axes": (0, 2)}, (0, 2)),
        ({"inference_allowed_mirroring_axes": None, "mirror_axes": (0, 1)}, ()),
        ({"inference_allowed_mirroring_axes": (2, 1)}, (1, 2)),
    ],
)
def test_mirroring_is_what_training_allowed(
    members: dict[str, Any], axes: tuple[int, ...], tmp_path: Path, tiny: Any
) -> None:
    """None means none; the member of today's nnU-Net wins."""
    extra = b"".join(tiny.text(name) + tiny.pickled(value) for name, value in members.items())
    tiny.checkpoint(tmp_path / "c.pth", WEIGHTS, extra=extra)
    assert read_checkpoint(tmp_path / "c.pth").mirror_axes == axes


def test_old_checkpoints_name_the_axes_otherwise(tmp_path: Path, tiny: Any) -> None:
    """`mirror_axes` is used where today's member is not there."""
    path = tmp_path / "c.pth"
    tiny.checkpoint(path, WEIGHTS)
    _replace(path, b"inference_allowed_mirroring_axes", b"mirror_axes")
    assert read_checkpoint(path).mirror_axes == (0, 1, 2)


def test_axes_that_do_not_exist_are_refused(tmp_path: Path, tiny: Any) -> None:
    """A 3D tile has three."""
    extra = tiny.text("inference_allowed_mirroring_axes") + tiny.pickled((0, 3))
    tiny.checkpoint(tmp_path / "c.pth", WEIGHTS, extra=extra)
    with pytest.raises(BundleInvalid, match="mirror over"):
        read_checkpoint(tmp_path / "c.pth")


def test_wrapped_networks_have_the_same_tensors(tmp_path: Path, tiny: Any) -> None:
    """Parallel and compiled training put words before every name, in either order."""
    for before in ("module.", "_orig_mod.module.", "module._orig_mod."):
        tiny.checkpoint(tmp_path / "c.pth", {before + n: w for n, w in WEIGHTS.items()})
        assert set(read_checkpoint(tmp_path / "c.pth").tensors) == set(WEIGHTS)


def _replace(path: Path, old: bytes, new: bytes) -> None:
    """Replace a text in the pickle, with the length before it."""
    with zipfile.ZipFile(path) as archive:
        members = {n: archive.read(n) for n in archive.namelist()}
    pickle = members["checkpoint/data.pkl"]
    before, after = (struct.pack("<I", len(text)) + text for text in (old, new))
    assert before in pickle
    members["checkpoint/data.pkl"] = pickle.replace(before, after)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
