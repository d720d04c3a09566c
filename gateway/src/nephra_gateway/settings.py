"""What the gateway is told by its environment."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from nephra_contract.nifti_header import MAX_VOXELS

_PREDICTORS = {
    "nnunet": "http://127.0.0.1:8001",
    "postprocess": "http://127.0.0.1:8002",
    "smoothing": "http://127.0.0.1:8003",
}


class GatewaySettings(BaseSettings):
    """Read once, at start, from `NEPHRA_*`."""

    model_config = SettingsConfigDict(env_prefix="NEPHRA_", frozen=True, extra="ignore")

    data: Path = Field(default=Path("data"), description="The data root.")
    host: str = Field(
        default="127.0.0.1", description="The address to listen on; containers set 0.0.0.0."
    )
    port: int = Field(default=8000, ge=0, le=65535, description="The port to listen on.")
    predictors: dict[str, str] = Field(
        default=_PREDICTORS, description="Where the predictors are: JSON, name to URL."
    )
    auth: Literal["bearer", "none"] = Field(
        default="bearer", description="'none' lets everybody in: for tests alone."
    )
    tokens_file: Path | None = Field(
        default=None, description="SHA-256 of each valid token in hexadecimal, one a line."
    )
    max_voxels: int = Field(default=MAX_VOXELS, gt=0, description="The largest volume of a case.")
    max_body_bytes: int = Field(default=2**20, gt=0, description="The largest request body.")
    metrics_port: int = Field(
        default=0, ge=0, le=65535, description="Shows metrics on a port of their own; 0: nowhere."
    )
    drain_s: float = Field(
        default=2,
        ge=0,
        description="Seconds that requests have to end after SIGTERM; then they are cancelled.",
    )
    retry_s: float = Field(
        default=10,
        ge=0,
        description="What a predictor lost is tried again for so long; 0: never. On a cluster, "
        "longer than a predictor needs to start.",
    )
    connect_s: float = Field(default=5, gt=0, description="To reach a predictor.")
    silence_s: float = Field(
        default=60, gt=0, description="A predictor that says nothing for longer is lost."
    )
    operation_s: float = Field(default=3600, gt=0, description="The longest operation.")
    refresh_s: float = Field(
        default=30, ge=0, description="After this long a predictor is asked again what it offers."
    )
    heartbeat_s: float = Field(
        default=5,
        gt=0,
        description="A stream is never silent for longer: ingresses and load balancers cut "
        "connections on which nothing comes for a while, most of them after 60 s.",
    )
    keep_alive_s: int = Field(
        default=120,
        ge=0,
        description="Idle connections of callers are kept for so long: longer than an ingress "
        "keeps its own (nginx 60 s, Traefik 90 s), which would else send into closing ones.",
    )
    exit_with_parent: bool = Field(
        default=False, description="End when the launching process ends."
    )
