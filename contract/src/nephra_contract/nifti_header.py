"""What a NIfTI file announces, read and judged before anything of it is unpacked."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from nephra_contract.errors import FileUnreadable, GeometryRefused, TooLarge, VoxelsRefused
from nephra_contract.volume import check_affine

#: Voxels of the largest volume that is read: 512 x 512 x 2048, a whole-body CT.
MAX_VOXELS = 512 * 512 * 2048
SUFFIXES = (".nii.gz", ".nii")

#: What to do about a damaged file.
AGAIN = "Export the image again as NIfTI-1 (.nii.gz) and upload it anew."

#: DEFLATE cannot shrink by more than this; a file that claims more is damaged.
_MAX_DEFLATE_RATIO = 1032


@dataclass(frozen=True)
class NiftiHeader:
    """What a file announces, checked, before its voxels are read.

    Args:
        shape: (I, J, K).
        affine: (4, 4) voxel → RAS+ mm, from sform, else qform, else pixdim.
        dtype: on-disk scalar type.
        slope, intercept: the scaling of stored values.
        data_offset: bytes before the voxels.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    dtype: np.dtype[Any]
    slope: float
    intercept: float
    data_offset: int

    @property
    def data_bytes(self) -> int:
        """Size of the unpacked voxels."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


def read_header(path: Path, max_voxels: int = MAX_VOXELS) -> NiftiHeader:
    """Read and judge a header; nothing else of the file is unpacked.

    Raises:
        FileUnreadable: empty, no NIfTI, damaged, or colour.
        GeometryRefused: not three axes, or an affine that maps no grid.
        TooLarge: more voxels than `max_voxels`.
    """
    size_bytes = path.stat().st_size
    if size_bytes == 0:
        raise FileUnreadable("The file is empty.", AGAIN, code="file_empty")
    try:
        with open_stream(path) as stream:
            header = _header(stream)
    except (EOFError, OSError, zlib.error) as error:
        raise FileUnreadable(
            "The file is not a readable NIfTI image.", AGAIN, code="file_not_nifti"
        ) from error
    _check_size(header, size_bytes, _is_gzip(path), max_voxels)
    return header


def not_three_dimensional(shape: tuple[int, ...]) -> GeometryRefused:
    """The error for anything but one volume."""
    said = " x ".join(str(n) for n in shape)
    return GeometryRefused(
        f"The file holds {said} voxels; one volume with three axes is needed.",
        "Send one 3D volume per file.",
        code="not_three_dimensional",
    )


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as raw:
        return raw.read(2) == b"\x1f\x8b"


def open_stream(path: Path) -> IO[bytes]:
    """The unpacked bytes of a file, packed or not, as its content says."""
    return cast("IO[bytes]", gzip.open(path, "rb")) if _is_gzip(path) else path.open("rb")


def _header(stream: IO[bytes]) -> NiftiHeader:
    start = stream.read(540)
    kind = _header_kind(start)
    try:
        header = kind(start[: kind.sizeof_hdr], check=False)
        dims = [int(n) for n in header["dim"]]
        dtype = header.get_data_dtype()
        slope, intercept = header.get_slope_inter()
        header_dtype = np.dtype(dtype)
    except (HeaderDataError, ValueError, TypeError, KeyError) as error:
        raise FileUnreadable(
            "The NIfTI header is damaged.", AGAIN, code="file_not_nifti"
        ) from error
    if header_dtype.fields is not None or header_dtype.kind not in "iuf":
        raise VoxelsRefused(
            "The file holds colour or complex values.",
            "Send a CT in Hounsfield units, or an integer mask.",
            code="voxels_not_scalar",
        )
    shape = _shape(dims)
    affine = _affine(header)
    return NiftiHeader(
        shape=shape,
        affine=affine,
        dtype=header_dtype,
        slope=1.0 if slope is None else float(slope),
        intercept=0.0 if intercept is None else float(intercept),
        data_offset=int(header["vox_offset"]) or kind.sizeof_hdr + 4,
    )


def _header_kind(start: bytes) -> Any:
    for kind in (nib.Nifti1Header, nib.Nifti2Header):
        if len(start) >= kind.sizeof_hdr and kind.may_contain_header(start):
            magic_at = 344 if kind is nib.Nifti1Header else 4
            if start[magic_at : magic_at + 3] in (b"n+1", b"n+2"):
                return kind
    raise FileUnreadable("The file is not a NIfTI image.", AGAIN, code="file_not_nifti")


def _shape(dims: list[int]) -> tuple[int, int, int]:
    axes = dims[0]
    sizes = tuple(dims[1 : axes + 1]) if 1 <= axes <= 7 else ()
    if any(n < 1 for n in sizes) or not sizes:
        raise FileUnreadable("The NIfTI header is damaged.", AGAIN, code="file_not_nifti")
    # Writers that store one volume as 4D with a single time point are common.
    if len(sizes) > 3 and all(n == 1 for n in sizes[3:]):
        sizes = sizes[:3]
    if len(sizes) != 3:
        raise not_three_dimensional(sizes)
    return sizes[0], sizes[1], sizes[2]


def _affine(header: Any) -> NDArray[np.float64]:
    spacing = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    if int(header["sform_code"]) > 0:
        affine = header.get_sform()
    elif not np.isfinite(spacing).all() or (np.abs(spacing) < 1e-4).any():
        affine = np.diag([*spacing, 1.0])
    elif int(header["qform_code"]) > 0:
        affine = _qform(header)
    else:
        affine = header.get_base_affine()
    affine = np.asarray(affine, dtype=np.float64)
    check_affine(affine)
    return affine


def _qform(header: Any) -> NDArray[np.float64]:
    try:
        return np.asarray(header.get_qform(), dtype=np.float64)
    except (HeaderDataError, ValueError) as error:
        raise GeometryRefused(
            "The qform of the file is no rotation.",
            "Write the file again with a valid sform or qform.",
            code="affine_singular",
        ) from error


def _check_size(header: NiftiHeader, size_bytes: int, packed: bool, max_voxels: int) -> None:
    voxels = int(np.prod(header.shape, dtype=np.int64))
    if voxels > max_voxels or header.data_offset > 2**20 + 2**24:
        said = " x ".join(str(n) for n in header.shape)
        raise TooLarge(
            f"The header announces {said} = {voxels:,} voxels; the limit is {max_voxels:,}.",
            "Crop or resample the volume.",
            voxels=voxels,
            max_voxels=max_voxels,
        )
    needed = header.data_bytes + header.data_offset
    if size_bytes * (_MAX_DEFLATE_RATIO if packed else 1) < needed:
        raise truncated()


def truncated() -> FileUnreadable:
    """The error for a file that ends too early."""
    return FileUnreadable(
        "The file ends before the voxels that its header announces.",
        "The upload or export was cut short; send the file again.",
        code="file_truncated",
    )
