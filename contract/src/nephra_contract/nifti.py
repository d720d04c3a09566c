"""NIfTI at the border: the only place where files become volumes, and back.

The header is read and judged before anything is unpacked; the data are then unpacked in one
bounded read. A file can therefore not make nephra take more memory than its own header
announced and the limit allows.
"""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from nephra_contract.errors import FileUnreadable, VoxelsRefused
from nephra_contract.labels import LabelSpace, to_nephra
from nephra_contract.nifti_header import (
    AGAIN,
    MAX_VOXELS,
    NiftiHeader,
    not_three_dimensional,
    open_stream,
    read_header,
    truncated,
)
from nephra_contract.volume import LabelMap, Volume

_TRAILING_BYTES_ALLOWED = 4096


def read_voxels(path: Path, header: NiftiHeader) -> NDArray[Any]:
    """Unpack the voxels that the header announced: (I, J, K), Fortran order, scaled.

    Integers stay integers where slope is 1 and intercept 0.

    Raises:
        FileUnreadable: fewer bytes than announced, or many more.
    """
    raw = bytearray(header.data_bytes)
    try:
        with open_stream(path) as stream:
            stream.seek(header.data_offset)
            filled = cast("Any", stream).readinto(raw)
            while 0 < filled < len(raw):
                more = cast("Any", stream).readinto(memoryview(raw)[filled:])
                if more == 0:
                    break
                filled += more
            trailing = len(stream.read(_TRAILING_BYTES_ALLOWED + 1))
    except (EOFError, OSError, zlib.error) as error:
        raise truncated() from error
    if filled < len(raw):
        raise truncated()
    if trailing > _TRAILING_BYTES_ALLOWED:
        raise FileUnreadable(
            "The file unpacks to more data than its header announces.",
            AGAIN,
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
