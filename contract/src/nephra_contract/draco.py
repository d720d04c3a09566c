"""Meshes compressed by Draco, for KHR_draco_mesh_compression; an optional engine."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from nephra_contract.errors import EngineMissing

#: Coordinates are rounded by no more than this.
QUANTISATION_MM = 0.005
_NORMAL_BITS = 10
_FEWEST_BITS, _MOST_BITS = 8, 24
_LEVEL = 7


@dataclass(frozen=True, eq=False)
class Packed:
    """A compressed mesh, and what comes out of it again.

    Args:
        data: as Draco stores it.
        position_id: Draco's number of the attribute that holds positions.
        normal_id: that of normals.
        points: (N, 3) float32, rounded, in Draco's order.
        normals: (N, 3) float32.
        faces: (M, 3) uint32.
    """

    data: bytes
    position_id: int
    normal_id: int
    points: NDArray[np.float32]
    normals: NDArray[np.float32]
    faces: NDArray[np.uint32]


def require_draco() -> None:
    """See that Draco is there.

    Raises:
        EngineMissing: it is not.
    """
    if find_spec("DracoPy") is None:
        raise EngineMissing(
            "This service was installed without DracoPy, which compression 'draco' needs.",
            "Install nephra-contract[draco], or ask for compression 'none'.",
        )


def compressed(
    points: NDArray[np.float32],
    normals: NDArray[np.float32],
    faces: NDArray[np.int64],
    most_error: float,
) -> Packed:
    """Compress a mesh.

    Args:
        points: (N, 3).
        normals: (N, 3) unit vectors.
        faces: (M, 3).
        most_error: how far a coordinate may be rounded, in the unit of the points.

    Raises:
        EngineMissing: Draco is not installed.
    """
    require_draco()
    import DracoPy

    span = float(np.ptp(points, axis=0).max())
    steps = max(span / (2 * most_error), 1.0)
    data: bytes = DracoPy.encode(
        points,
        faces.astype(np.uint32),
        quantization_bits=int(np.clip(np.ceil(np.log2(steps + 1)), _FEWEST_BITS, _MOST_BITS)),
        compression_level=_LEVEL,
        normals=normals.astype(np.float64),
        normal_quantization_bits=_NORMAL_BITS,
    )
    return unpacked(data)


def unpacked(data: bytes) -> Packed:
    """What a decoder makes of a compressed mesh.

    Raises:
        EngineMissing: Draco is not installed.
    """
    require_draco()
    import DracoPy

    mesh = DracoPy.decode(data)
    found = {a["attribute_type"]: a for a in mesh.attributes}
    position, normal = found[DracoPy.AttributeType.POSITION], found[DracoPy.AttributeType.NORMAL]
    return Packed(
        data,
        int(position["unique_id"]),
        int(normal["unique_id"]),
        np.asarray(position["data"], np.float32),
        np.asarray(normal["data"], np.float32),
        np.asarray(mesh.faces, np.uint32),
    )
