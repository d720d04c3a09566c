"""What the gateway is told by its environment."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from nephra_contract.nifti_header import MAX_VOXELS
from nephra_contract.paths import PRIVATE

_PREDICTORS = {
    "nnunet": "http://127.0.0.1:8001",
    "postprocess": "http://127.0.0.1:8002",
    "smoothing": "http://127.0.0.1:8003",
}

#: What is the gateway's own below the data root.
PRIVATE_DATABASE = f"{PRIVATE}/gateway.db"


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
    database: str | None = Field(
        default=None,
        description="URL of the database of tickets and cache: sqlite:////absolute/path or "
        "postgresql://user:password@host/name; without, SQLite in the data root.",
    )
    work: bool = Field(
        default=True, description="Work on tickets too; false only answers requests."
    )
    lease_s: float = Field(
        default=15,
        ge=1,
        description="A ticket whose worker is silent for longer goes on with another one.",
    )
    tickets_at_once: int = Field(
        default=16, ge=1, description="How many tickets this gateway works on at once."
    )
    limits: dict[str, int] = Field(
        default={"nnunet": 1},
        description="How many requests a predictor is given at once by all gateways: JSON, name "
        "to number; one that is not named is given as many as there are.",
    )
    keep_tickets_s: float = Field(
        default=7 * 86400, gt=0, description="Ended tickets, and what they name, stay so long."
    )
    cache_unused_s: float = Field(
        default=1800,
        gt=0,
        description="A result that no ticket names goes after not being used for so long.",
    )
    cache_max_bytes: int = Field(
        default=50 * 2**30,
        ge=0,
        description="Results that no ticket names may take so much; the least recently used go.",
    )
    max_upload_bytes: int = Field(default=4 * 2**30, gt=0, description="The largest upload.")
    rate_per_s: float = Field(
        default=0, ge=0, description="Requests a second that each token may make; 0: any number."
    )
    rate_burst: int = Field(default=100, ge=1, description="How many of them may come at once.")
    cors_origins: tuple[str, ...] = Field(
        default=(), description="Web pages of these origins may ask: a JSON list."
    )
    webhook_hosts: tuple[str, ...] = Field(
        default=(), description="Hosts that may be told when a ticket has ended: a JSON list."
    )
    webhook_private: bool = Field(
        default=False, description="Those hosts may have private addresses, and plain HTTP."
    )
    webhook_secret_file: Path | None = Field(
        default=None, description="The secret that calls of webhooks are signed with."
    )
    exit_with_parent: bool = Field(
        default=False, description="End when the launching process ends."
    )

    @property
    def database_url(self) -> str:
        """The database, named or not."""
        return self.database or f"sqlite:///{self.data.resolve() / PRIVATE_DATABASE}"
