"""What this service is told from outside, read once at start."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from nephra_contract.nifti_header import MAX_VOXELS
from nephra_nnunet.cache import ByteCache
from nephra_nnunet.machine import limit_bytes
from nephra_nnunet.memory import Memory

_MIB = 2**20
#: What the server beside the worker holds of the container's memory.
_SERVER_BYTES = 128 * _MIB
#: A checkout keeps the demo models beside the packages.
_BESIDE_THE_PACKAGES = Path(__file__).resolve().parents[4] / "bundles"


class Settings(BaseSettings):
    """Environment variables `NEPHRA_…`."""

    model_config = SettingsConfigDict(env_prefix="NEPHRA_", frozen=True)

    bundles: Path = Field(
        default=_BESIDE_THE_PACKAGES,
        description="Folder of bundles, one folder each; several are joined as in PATH.",
    )
    max_voxels: int = Field(
        default=MAX_VOXELS, gt=0, description="Voxels of the largest image read."
    )
    threads: int = Field(
        default=0,
        ge=0,
        description="CPU threads for inference, shared by all workers; 0 takes all cores.",
    )
    backend: Literal["openvino", "torch"] = Field(
        default="openvino", description="The inference engine."
    )
    device: str = Field(default="cpu", description="Where torch runs: cpu, cuda, cuda:1.")
    warm_up: bool = Field(default=True, description="Run every model once at start, before ready.")

    memory_mib: int = Field(
        default=0,
        ge=0,
        description="Memory that the workers may take; 0 finds the container's or machine's.",
    )
    concurrency: int = Field(
        default=1,
        ge=1,
        description="Workers of this service: each has its share of memory and cores, and models "
        "of its own.",
    )
    image_cache_mib: int = Field(
        default=1024,
        ge=0,
        description="Images and prepared images kept for the next request on the same content.",
    )

    @property
    def bundle_folders(self) -> tuple[Path, ...]:
        """The folders of bundles; new ones are added to the first."""
        return tuple(Path(p) for p in str(self.bundles).split(os.pathsep) if p)

    @property
    def memory(self) -> Memory:
        """This worker's share of what was told, or of what is there beside the server."""
        limit = self.memory_mib * _MIB or limit_bytes() - _SERVER_BYTES
        cache = ByteCache(self.image_cache_mib * _MIB // self.concurrency)
        return Memory(limit // self.concurrency, cache)

    @property
    def thread_count(self) -> int:
        """This worker's share of the threads told, or of the cores that the process may have."""
        return max(1, (self.threads or len(os.sched_getaffinity(0))) // self.concurrency)
