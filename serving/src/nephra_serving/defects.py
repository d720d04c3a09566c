"""What nobody foresaw, as an error that may be shown."""

from __future__ import annotations

from nephra_contract import logs
from nephra_contract.errors import InsufficientMemory, InternalError, NephraError, full_disk


def ours(error: BaseException) -> NephraError:
    """Any exception as one of ours; what nobody foresaw is logged, and hidden from callers."""
    if isinstance(error, NephraError):
        return error
    if isinstance(error, MemoryError):
        return InsufficientMemory(
            "The work needs more memory than there is.",
            "Crop or resample the volume, or give the predictor more memory.",
        )
    full = full_disk(error)
    if full is not None:
        return full
    logs.defect("unexpected error", error)
    return InternalError(
        "nephra failed at this request; the log of the predictor says where.",
        "Report it with the ticket or the time of the request.",
    )
