"""What an image is, whatever file it lies in: one pass over the file, in constant memory."""

from __future__ import annotations

import hashlib
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from nephra_contract.errors import FileUnreadable, NephraError
from nephra_contract.nifti_header import NiftiHeader, read_header

#: Part of every digest: another way of reckoning gives other ones.
_KIND = b"nephra voxels 1\0"

#: Voxels that are brought into one form together; part of the reckoning.
_CHUNK_VOXELS = 2**20

#: Bytes that are read, or unpacked, at once. A gzip file can unpack to a thousand times its size.
_BLOCK_BYTES = 2**20

#: Some writers pad; the contract's reader takes as much.
_TRAILING_BYTES_ALLOWED = 4096

#: The integer forms, the smallest first; what none of them holds is a float64.
_FORMS = tuple(np.dtype(d) for d in ("u1", "<i2", "<i4"))
_LARGEST_EXACT = 2.0**53

_GZIP, _GZIP_WINDOW = b"\x1f\x8b", 31


class Stopped(Exception):
    """The pass was told to end."""


@dataclass(frozen=True)
class Content:
    """What a NIfTI file holds.

    Args:
        voxels: SHA-256 of grid and values: the same for the same image, however it is stored.
        file: SHA-256 of the file's bytes.
    """

    voxels: str
    file: str


def fingerprint(path: Path, max_voxels: int, stop: threading.Event) -> Content | None:
    """Read a file once, from its beginning to its end, and say what it holds.

    The values are those that the scaling of the header gives, in float64. In each run of
    `_CHUNK_VOXELS` voxels they are brought into the smallest of uint8, int16, int32 and float64
    that holds all of them exactly, so that neither the type on disk nor its order of bytes, nor
    scaling or packing changes the digest.

    Args:
        path: the file.
        max_voxels: of the largest volume.
        stop: ends the pass.

    Returns:
        None where the file is no readable NIfTI image.

    Raises:
        Stopped: by `stop`.
    """
    try:
        header = read_header(path, max_voxels)
        with path.open("rb") as stream:
            raw = hashlib.sha256()
            voxels = _voxels(header, _blocks(stream, raw, stop))
    except (NephraError, OSError, EOFError, ValueError, zlib.error):
        return None
    return Content(voxels, raw.hexdigest())


def file_sha256(path: Path, stop: threading.Event) -> str | None:
    """SHA-256 of a file's bytes; None where it cannot be read.

    Raises:
        Stopped: by `stop`.
    """
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            for _ in _raw(stream, digest, stop):
                pass
    except OSError:
        return None
    return digest.hexdigest()


def _voxels(header: NiftiHeader, blocks: Iterator[bytes]) -> str:
    """The digest of grid and values.

    Raises:
        FileUnreadable: fewer bytes than announced, or many more.
    """
    digest = hashlib.sha256(_KIND)
    digest.update(np.asarray(header.shape, dtype="<i8").tobytes())
    digest.update((np.asarray(header.affine, dtype="<f8") + 0.0).tobytes())
    left, skip = header.data_bytes, header.data_offset
    whole = _CHUNK_VOXELS * header.dtype.itemsize
    pending = bytearray()
    for block in blocks:
        start = min(skip, len(block))
        skip -= start
        pending += memoryview(block)[start:]
        while left and len(pending) >= min(whole, left):
            size = min(whole, left)
            digest.update(_canonical(header, bytes(memoryview(pending)[:size])))
            del pending[:size]
            left -= size
        if not left and len(pending) > _TRAILING_BYTES_ALLOWED:
            break
    if left or len(pending) > _TRAILING_BYTES_ALLOWED:
        raise FileUnreadable("The file is not as long as its header announces.")
    return digest.hexdigest()


def _canonical(header: NiftiHeader, raw: bytes) -> bytes:
    """The values of a chunk in their smallest exact form, its name before them."""
    values: NDArray[Any] = np.frombuffer(raw, dtype=header.dtype)
    if header.slope != 1 or header.intercept != 0:
        values = values.astype(np.float64) * header.slope + header.intercept
    # NaN makes both NaN: then no form holds them but the last.
    low, high = float(values.min()), float(values.max())
    for form in _FORMS:
        limits = np.iinfo(form)
        if limits.min <= low and high <= limits.max:
            found = values.astype(form)
            if values.dtype.kind in "iu" or np.array_equal(found, values):
                return form.str.encode() + found.tobytes()
            break  # they are no whole numbers: a larger form would not hold them either
    if values.dtype.kind in "iu" and max(-low, high) > _LARGEST_EXACT:
        return b"64" + values.astype(values.dtype.newbyteorder("<")).tobytes()
    # Adding zero makes negative zeros positive ones.
    return b"<f8" + (values.astype("<f8") + 0.0).tobytes()


def _blocks(stream: IO[bytes], digest: Any, stop: threading.Event) -> Iterator[bytes]:
    """The unpacked bytes of a file; all that is read of it goes through the digest."""
    raw = _raw(stream, digest, stop)
    first = next(raw, b"")
    if not first.startswith(_GZIP):
        yield first
        yield from raw
        return
    unpacking, left = zlib.decompressobj(_GZIP_WINDOW), first
    while True:
        while left and not unpacking.eof:
            yield unpacking.decompress(left, _BLOCK_BYTES)
            left = unpacking.unconsumed_tail
        if unpacking.eof:  # another member may follow, or padding
            left = unpacking.unused_data.lstrip(b"\0")
            if left:
                unpacking = zlib.decompressobj(_GZIP_WINDOW)
                continue
        more = next(raw, b"")
        if not more:
            break
        if unpacking.eof:
            more = more.lstrip(b"\0")
            unpacking = zlib.decompressobj(_GZIP_WINDOW) if more else unpacking
        left = more
    if not unpacking.eof:
        raise EOFError


def _raw(stream: IO[bytes], digest: Any, stop: threading.Event) -> Iterator[bytes]:
    while block := stream.read(_BLOCK_BYTES):
        if stop.is_set():
            raise Stopped
        digest.update(block)
        yield block
