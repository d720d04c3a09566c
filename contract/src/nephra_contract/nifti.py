"""NIfTI at the border: the only place where files become volumes, and back.

The header is read and judged before anything is unpacked; the data are then unpacked in one
bounded read. A file can therefore not make nephra take more memory than its own header
announced and the limit allows.
"""

from __future__ import annotations

import gzip
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from nephra_contract.errors import FileUnreadable, GeometryRefused, TooLarge, VoxelsRefused
from nephra_contract.labels import LabelSpace, to_nephra
from nephra_contract.volume import LabelMap, Volume, check_affine

#: Voxels of the largest volume that is read: 512 x 512 x 2048, a whole-body CT.
MAX_VOXELS = 512 * 512 * 2048
SUFFIXES = (".nii.gz", ".nii")

#: DEFLATE cannot shrink by more than this; a file that claims more is damaged.
_MAX_DEFLATE_RATIO = 1032
_TRAILING_BYTES_ALLOWED = 4096
_AGAIN = "Export the image again as NIfTI-1 (.nii.gz) and upload it anew."


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
        raise FileUnreadable("The file is empty.", _AGAIN, code="file_empty")
    try:
        with _open(path) as stream:
            header = _header(stream)
    except (EOFError, OSError, zlib.error) as error:
        raise FileUnreadable(
            "The file is not a readable NIfTI image.", _AGAIN, code="file_not_nifti"
        ) from error
    _check_size(header, size_bytes, _is_gzip(path), max_voxels)
    return header


def read_voxels(path: Path, header: NiftiHeader) -> NDArray[Any]:
    """Unpack the voxels that the header announced: (I, J, K), Fortran order, scaled.

    Integers stay integers where slope is 1 and intercept 0.

    Raises:
        FileUnreadable: fewer bytes than announced, or many more.
    """
    raw = bytearray(header.data_bytes)
    try:
        with _open(path) as stream:
            stream.seek(header.data_offset)
            filled = cast("Any", stream).readinto(raw)
            while 0 < filled < len(raw):
                more = cast("Any", stream).readinto(memoryview(raw)[filled:])
                if more == 0:
                    break
                filled += more
            trailing = len(stream.read(_TRAILING_BYTES_ALLOWED + 1))
    except (EOFError, OSError, zlib.error) as error:
        raise _truncated() from error
    if filled < len(raw):
        raise _truncated()
    if trailing > _TRAILING_BYTES_ALLOWED:
        raise FileUnreadable(
            "The file unpacks to more data than its header announces.",
            _AGAIN,
            code="file_longer_than_header",
        )
    voxels = np.frombuffer(raw, dtype=header.dtype).reshape(header.shape, order="F")
    if not voxels.dtype.isnative:
        voxels = voxels.astype(voxels.dtype.newbyteorder("="))
    if header.slope != 1 or header.intercept != 0:
        voxels = voxels.astype(np.float32) * np.float32(header.slope)
        voxels += np.float32(header.intercept)
    return voxels


def read_image(path: Path, max_voxels: int = MAX_VOXELS) -> Volume:
    """Read a CT: real values, three axes, all finite.

    Raises:
        FileUnreadable, GeometryRefused, TooLarge: as `read_header` and `read_voxels`.
        VoxelsRefused: NaN or infinite voxels.
    """
    header = read_header(path, max_voxels)
    if min(header.shape) < 2:
        raise not_three_dimensional(header.shape)
    voxels = read_voxels(path, header)
    check_finite(voxels)
    return Volume(voxels, header.affine)


def read_labels(path: Path, space: LabelSpace = "nephra", max_voxels: int = MAX_VOXELS) -> LabelMap:
    """Read a mask and renumber it into our table.

    Raises:
        FileUnreadable, GeometryRefused, TooLarge: as `read_header` and `read_voxels`.
        VoxelsRefused: values that are not whole numbers.
        LabelsUnknown: numbers outside of the table.
    """
    header = read_header(path, max_voxels)
    voxels = read_voxels(path, header)
    if not np.issubdtype(voxels.dtype, np.integer):
        check_finite(voxels)
        whole = np.rint(voxels)
        if not np.array_equal(whole, voxels):
            raise VoxelsRefused(
                "The mask holds values that are not whole numbers.",
                "Send a label map, not probabilities; threshold it first.",
                code="voxels_not_integer",
            )
        voxels = whole.astype(np.int64)
    return LabelMap(to_nephra(voxels, space), header.affine)


def write_image(path: Path, volume: Volume) -> None:
    """Write with qform and sform, slope 1, the voxels' own dtype; atomic and fsynced."""
    image = nib.Nifti1Image(volume.voxels, volume.affine)
    # qform cannot hold shear: nibabel then stores the nearest rotation, sform stays exact.
    image.set_sform(volume.affine, code=1)
    image.set_qform(volume.affine, code=1, strip_shears=True)
    image.header.set_slope_inter(1, 0)
    image.header.set_xyzt_units("mm")
    partial = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        # Masks are long runs: level 1 is as small as level 9 within a few percent.
        with partial.open("wb") as raw:
            if path.name.endswith(".gz"):
                with gzip.GzipFile("", "wb", compresslevel=1, fileobj=raw, mtime=0) as packed:
                    packed.write(image.to_bytes())
            else:
                raw.write(image.to_bytes())
            raw.flush()
            os.fsync(raw.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_labels(path: Path, labels: LabelMap) -> None:
    """Write a label map; uint8 where the numbers fit, else uint16."""
    highest = max(labels.present, default=0)
    dtype = np.uint8 if highest < 256 else np.uint16
    write_image(path, labels.like(labels.voxels.astype(dtype, copy=False)))


def check_finite(voxels: NDArray[Any]) -> None:
    """Refuse NaN and infinities.

    Raises:
        VoxelsRefused: any voxel is not a finite number.
    """
    # The sum is a cheap first look: it is finite exactly when nothing overflowed or was NaN.
    if np.issubdtype(voxels.dtype, np.floating) and not np.isfinite(voxels.sum(dtype=np.float64)):
        bad = int(voxels.size - np.count_nonzero(np.isfinite(voxels)))
        raise VoxelsRefused(
            f"{bad} voxels are NaN or infinite.",
            "Replace them, with -1024 outside of the patient, and upload the image again.",
            code="voxels_not_finite",
        )


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


def _open(path: Path) -> IO[bytes]:
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
            "The NIfTI header is damaged.", _AGAIN, code="file_not_nifti"
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
    raise FileUnreadable("The file is not a NIfTI image.", _AGAIN, code="file_not_nifti")


def _shape(dims: list[int]) -> tuple[int, int, int]:
    axes = dims[0]
    sizes = tuple(dims[1 : axes + 1]) if 1 <= axes <= 7 else ()
    if any(n < 1 for n in sizes) or not sizes:
        raise FileUnreadable("The NIfTI header is damaged.", _AGAIN, code="file_not_nifti")
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
        raise _truncated()


def _truncated() -> FileUnreadable:
    return FileUnreadable(
        "The file ends before the voxels that its header announces.",
        "The upload or export was cut short; send the file again.",
        code="file_truncated",
    )
