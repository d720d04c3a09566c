"""Images from files: judged by their header first, then decoded by SimpleITK.

SimpleITK reads what nnU-Net's own reader reads, so that voxels are bit for bit what training
saw. Its geometry is not used: the affine comes from the contract, the same for all services.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nephra_contract.errors import FileMissing
from nephra_contract.nifti import check_finite, read_voxels
from nephra_contract.nifti_header import (
    MAX_VOXELS,
    SUFFIXES,
    NiftiHeader,
    not_three_dimensional,
    read_header,
)
from nephra_contract.results import sha256
from nephra_contract.volume import Volume, orthonormal


@dataclass(frozen=True)
class Reader:
    """Reads images, and remembers how often it read which file.

    Args:
        max_voxels: the largest image that is read.
        reads: by path, how often its voxels were decoded.
    """

    max_voxels: int = MAX_VOXELS
    reads: Counter[Path] = field(default_factory=Counter)

    def warm_up(self) -> None:
        """Import the decoder now, so that no request has to wait for it."""
        import SimpleITK  # noqa: F401

    def header(self, path: Path) -> NiftiHeader:
        """Read and judge what a file announces; see `read`."""
        try:
            header = read_header(path, self.max_voxels)
        except FileNotFoundError as error:
            raise _gone() from error
        if min(header.shape) < 2:
            raise not_three_dimensional(header.shape)
        return header

    def digest(self, path: Path) -> str:
        """SHA-256 of a file's bytes: what names its content.

        Raises:
            FileMissing: nothing is there any more.
        """
        try:
            return sha256(path)
        except FileNotFoundError as error:
            raise _gone() from error

    def read(self, path: Path) -> Volume:
        """Read a CT.

        Integers stay integers. A nearly orthonormal affine is repaired.

        Returns:
            (I, J, K) voxels in Hounsfield units, Fortran order.

        Raises:
            FileMissing: nothing is there any more.
            FileUnreadable: empty, no NIfTI, truncated, colour.
            GeometryRefused: not three axes, singular, or sheared.
            TooLarge: more voxels than the limit.
            VoxelsRefused: NaN or infinite voxels.
        """
        header = self.header(path)
        affine = orthonormal(header.affine)
        self.reads[path] += 1
        voxels = _decode(path, header)
        check_finite(voxels)
        return Volume(voxels, affine)


def _gone() -> FileMissing:
    return FileMissing("The image has gone.", "Upload it again.")


def _decode(path: Path, header: NiftiHeader) -> NDArray[Any]:
    """Voxels (I, J, K) by SimpleITK; by the contract's own decoder where that is not sure.

    NIfTI readers disagree on scaling, half floats and 4D files of one volume, and ITK fills up
    what a cut-off file lacks with zeros without a word. Those cases take the one road on which
    all services agree, and which refuses damaged files.
    """
    scaled = header.slope != 1 or header.intercept != 0
    if scaled or not header.dtype.isnative or not path.name.endswith(SUFFIXES):
        return read_voxels(path, header)
    array = _by_simpleitk(path)
    if array is None or array.shape != header.shape[::-1] or array.dtype != header.dtype:
        return read_voxels(path, header)
    return array.T if _intact(path, header, array) else read_voxels(path, header)


def _by_simpleitk(path: Path) -> NDArray[Any] | None:
    """(K, J, I) voxels, or None for what ITK will not read: the header check decides, not ITK."""
    import SimpleITK as sitk  # noqa: N813

    reader = sitk.ImageFileReader()
    reader.SetImageIO("NiftiImageIO")
    reader.SetFileName(str(path))
    try:
        return np.asarray(sitk.GetArrayFromImage(reader.Execute()))
    except RuntimeError:
        return None


def _intact(path: Path, header: NiftiHeader, array: NDArray[Any]) -> bool:
    """Whether the decoded bytes are those that were packed: by gzip's own length and CRC-32.

    This proves a whole file at a tenth of the cost of unpacking it again. Plain files were
    judged by their length with the header.
    """
    with path.open("rb") as raw:
        if raw.read(2) != b"\x1f\x8b":
            return True
        raw.seek(-8, 2)
        checksum, length = struct.unpack("<II", raw.read(8))
    if length != (header.data_offset + header.data_bytes) % 2**32:
        return False
    with gzip.open(path, "rb") as stream:
        head = stream.read(header.data_offset)
    whole = zlib.crc32(np.ascontiguousarray(array).data.cast("B"), zlib.crc32(head))
    return whole == int(checksum)
