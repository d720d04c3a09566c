"""Every way in which nephra says no, drawn as one tree.

    NephraError
    ├── Refused               the request can be mended (4xx)
    │   ├── PathRefused          400  path_refused
    │   ├── Unauthorized         401  unauthorized
    │   ├── NotFound             404  not_found
    │   │   ├── FileMissing           file_not_found
    │   │   ├── OperationUnknown      operation_unknown
    │   │   └── BundleUnknown         bundle_unknown
    │   ├── Conflict             409  conflict
    │   ├── TooLarge             413  volume_too_large
    │   └── Unprocessable        422  unprocessable
    │       ├── RequestInvalid        request_invalid
    │       ├── FileUnreadable        file_unreadable | file_empty | file_truncated | ...
    │       ├── GeometryRefused       affine_singular | affine_sheared | ...
    │       ├── VoxelsRefused         voxels_not_finite | voxels_not_integer | ...
    │       ├── LabelsUnknown         labels_unknown
    │       ├── StructureMissing      structure_missing
    │       ├── PhaseMissing          phase_missing
    │       ├── PhasesApart           phases_apart
    │       ├── EngineMissing         engine_missing
    │       └── BundleInvalid         bundle_invalid
    ├── Cancelled             499  cancelled: the caller went away or asked to stop
    └── Failed                the system can be mended (5xx)
        ├── InternalError        500  internal_error: a defect of nephra, never bad input
        ├── Unavailable          503  predictor_unavailable
        ├── TimedOut             504  timed_out
        ├── InsufficientMemory   507  insufficient_memory
        └── NoSpace              507  no_space: the disk is full

An error carries a kind (`code`, stable), a sentence for the user (`detail`) and what to do
next (`action`). Host paths and the messages of libraries never stand in either.
"""

from __future__ import annotations

import errno
from typing import Any, ClassVar


class NephraError(Exception):
    """Base of all errors that a user may see.

    Args:
        detail: one sentence that says what was found.
        action: one sentence that says what to do next.
        code: a finer kind than the class's own; stable once released.
        extra: further members of the problem document (JSON values).
    """

    status: ClassVar[int] = 500
    default_code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "nephra could not do this"
    retry_after_s: ClassVar[int | None] = None

    def __init__(
        self, detail: str, action: str = "", *, code: str | None = None, **extra: Any
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.action = action
        self.code = code or self.default_code
        self.extra = extra


class Refused(NephraError):
    """The request can be mended."""

    status = 400
    default_code = "bad_request"
    title = "The request cannot be served as it is"


class PathRefused(Refused):
    """A path that does not name something below the data root."""

    default_code = "path_refused"
    title = "Path outside of the data root"


class Unauthorized(Refused):
    """No token, or one that is not known."""

    status = 401
    default_code = "unauthorized"
    title = "A bearer token is needed"


class NotFound(Refused):
    """Something named in the request does not exist."""

    status = 404
    default_code = "not_found"
    title = "Not found"


class FileMissing(NotFound):
    """A path below the data root where no file is."""

    default_code = "file_not_found"
    title = "File not found"


class OperationUnknown(NotFound):
    """No predictor offers this operation."""

    default_code = "operation_unknown"
    title = "Operation not offered"


class BundleUnknown(NotFound):
    """No bundle of that name is loaded for the task."""

    default_code = "bundle_unknown"
    title = "Bundle not loaded"


class Conflict(Refused):
    """The request contradicts something that is already there."""

    status = 409
    default_code = "conflict"
    title = "Conflict with what is there"


class TooLarge(Refused):
    """More voxels than the stated limit."""

    status = 413
    default_code = "volume_too_large"
    title = "Volume larger than the limit"


class Unprocessable(Refused):
    """Well-formed, but its content cannot be worked on."""

    status = 422
    default_code = "unprocessable"
    title = "The content cannot be processed"


class RequestInvalid(Unprocessable):
    """Unknown, missing or ill-typed members of the request."""

    default_code = "request_invalid"
    title = "Request not understood"


class FileUnreadable(Unprocessable):
    """A file that is not what its name says."""

    default_code = "file_unreadable"
    title = "File cannot be read"


class GeometryRefused(Unprocessable):
    """An affine or shape that is no patient geometry."""

    default_code = "geometry_refused"
    title = "Geometry cannot be used"


class VoxelsRefused(Unprocessable):
    """Voxel values that are not what the step works on."""

    default_code = "voxels_refused"
    title = "Voxel values cannot be used"


class LabelsUnknown(Unprocessable):
    """Label numbers outside of the named table."""

    default_code = "labels_unknown"
    title = "Labels outside of the table"


class StructureMissing(Unprocessable):
    """The mask lacks a structure that the step stands on."""

    default_code = "structure_missing"
    title = "A needed structure is missing"


class PhaseMissing(Unprocessable):
    """A wanted structure needs a phase that was not given."""

    default_code = "phase_missing"
    title = "A needed phase is missing"


class PhasesApart(Unprocessable):
    """Two phases of one case that do not overlap in space."""

    default_code = "phases_apart"
    title = "Phases do not overlap"


class EngineMissing(Unprocessable):
    """A parameter asks for an optional library that this service was installed without."""

    default_code = "engine_missing"
    title = "An optional engine is not installed"


class BundleInvalid(Unprocessable):
    """A model folder that cannot be served."""

    default_code = "bundle_invalid"
    title = "Bundle cannot be served"


class Cancelled(NephraError):
    """The caller went away, or asked to stop. Nothing is left behind."""

    status = 499
    default_code = "cancelled"
    title = "Cancelled"


class Failed(NephraError):
    """The system can be mended; the request may be right."""


class InternalError(Failed):
    """A defect of nephra itself."""

    title = "nephra failed"


class Unavailable(Failed):
    """A service that is needed does not answer."""

    status = 503
    default_code = "predictor_unavailable"
    title = "A service is not available"
    retry_after_s = 10


class TimedOut(Failed):
    """A service took longer than its limit."""

    status = 504
    default_code = "timed_out"
    title = "The time limit has passed"
    retry_after_s = 60


class InsufficientMemory(Failed):
    """The work would need more memory than it may have."""

    status = 507
    default_code = "insufficient_memory"
    title = "Not enough memory"


class NoSpace(Failed):
    """The disk has no room for a file."""

    status = 507
    default_code = "no_space"
    title = "Not enough disk space"


def no_space() -> NoSpace:
    """The error for a full disk."""
    return NoSpace(
        "There is not enough room in the data root for this file.",
        "Remove what is not needed any more, or ask who runs this gateway for room.",
    )


def full_disk(error: BaseException | None) -> NoSpace | None:
    """The error for a full disk, where that is what an error comes from; None for all others.

    Libraries that write files often say so in words of their own, and name the system's as cause.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return no_space()
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None
