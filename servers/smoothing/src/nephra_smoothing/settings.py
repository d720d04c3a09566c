"""What the service is told by its environment, read once at start."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from nephra_contract.nifti_header import MAX_VOXELS


class Settings(BaseSettings):
    """Settings of the smoothing predictor; environment variables are `NEPHRA_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="NEPHRA_", frozen=True, extra="ignore")

    max_voxels: int = Field(
        default=MAX_VOXELS, gt=0, description="Voxels of the largest mask that is read."
    )
