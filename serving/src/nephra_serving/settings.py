"""What a predictor process is told by its environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServingSettings(BaseSettings):
    """Read once, at start, from `NEPHRA_*`."""

    model_config = SettingsConfigDict(env_prefix="NEPHRA_", frozen=True, extra="ignore")

    data: Path = Field(default=Path("data"), description="The data root.")
    host: str = Field(
        default="127.0.0.1", description="The address to listen on; containers set 0.0.0.0."
    )
    port: int = Field(
        default=8080, ge=0, le=65535, description="The port to listen on; 0 takes any."
    )
    metrics_port: int = Field(
        default=0, ge=0, le=65535, description="A port for `/metrics` alone; 0 opens none."
    )
    concurrency: int = Field(
        default=1,
        ge=1,
        description="Requests that are worked on at once, each by a process of its own, which "
        "loads every model for itself.",
    )
    drain_s: float = Field(
        default=0,
        ge=0,
        description="Seconds after SIGTERM in which work that was accepted, running or waiting, "
        "is finished.",
    )
    stop_s: float = Field(
        default=20,
        ge=0,
        description="Seconds that cancelled work has to stop; then its process is replaced.",
    )
    heartbeat_s: float = Field(default=5, gt=0, description="A stream is never silent for longer.")
    max_body_bytes: int = Field(default=2**20, gt=0, description="The largest request body.")
    exit_with_parent: bool = Field(
        default=False, description="End when the launching process ends."
    )
