"""What PyTorch says when memory runs out, as an error with numbers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from nephra_contract.errors import InsufficientMemory

_GIB = 2**30
#: PyTorch has an exception for CUDA's allocator only; cuDNN, cuBLAS and the CPU say it in words.
_SIGNS = ("out of memory", "can't allocate memory", "ALLOC_FAILED")


@contextmanager
def within_memory(device: Any, what: str) -> Iterator[None]:
    """Run a block without gradients; memory that is lacking becomes an error of ours.

    Args:
        device: a `torch.device`.
        what: the block needs memory for, as the subject of a sentence.

    Raises:
        InsufficientMemory: the device has too little of it.
    """
    import torch

    try:
        with torch.inference_mode():
            yield
    except RuntimeError as error:
        if not any(sign in str(error) for sign in _SIGNS):
            raise
        free, total = measure_bytes(device)
        release(device)
        raise InsufficientMemory(
            f"{what} did not fit into the memory of '{device}': "
            f"{free / _GIB:.1f} of its {total / _GIB:.1f} GiB are free.",
            "Use a device with more memory, a model with a coarser spacing or a smaller patch, "
            "or the CPU (NEPHRA_DEVICE=cpu).",
            free_bytes=free,
            total_bytes=total,
        ) from error


def measure_bytes(device: Any) -> tuple[int, int]:
    """Free memory and all memory of a device, in bytes; what PyTorch keeps for reuse is free."""
    if device.type == "cuda":
        import torch

        free, total = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + kept), int(total)
    page = os.sysconf("SC_PAGE_SIZE")
    return page * os.sysconf("SC_AVPHYS_PAGES"), page * os.sysconf("SC_PHYS_PAGES")


def release(device: Any) -> None:
    """Give back what PyTorch keeps for reuse. On the CPU it keeps nothing."""
    if device.type == "cuda":
        import torch

        with torch.cuda.device(device):
            torch.cuda.empty_cache()
