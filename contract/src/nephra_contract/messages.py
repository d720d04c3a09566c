"""What gateway, predictors and clients say to each other. Unknown members are refused."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from nephra_contract.errors import NephraError


class Message(BaseModel):
    """Base of all messages."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Problem(BaseModel):
    """An error as `application/problem+json` (RFC 9457), with a stable `code`."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str
    action: str = ""

    @classmethod
    def of(cls, error: NephraError) -> Problem:
        """The problem that an error is for the caller."""
        return cls(
            title=error.title,
            status=error.status,
            code=error.code,
            detail=error.detail,
            action=error.action,
            **error.extra,
        )


class InputDescription(Message):
    """One file that an operation reads."""

    name: str
    kind: Literal["image", "mask"]
    description: str
    many: bool = False
    optional: bool = False
    phase: Literal["A", "P", "D"] | None = None


class OperationDescription(Message):
    """One operation as a predictor offers it."""

    name: str
    model: str
    predictor: str
    summary: str
    description: str
    inputs: list[InputDescription]
    output: Literal["mask", "scene"]
    version: str
    code: str = Field("", description="Digest of the code that does it.")
    request_schema: dict[str, Any]
    example: dict[str, Any] = Field(default_factory=dict)


class BundleDescription(Message):
    """One nnU-Net bundle as a predictor has loaded it."""

    name: str
    task: str
    default: bool
    version: str
    digest: str
    channels: list[list[str]]
    labels: dict[str, int]
    spacing_mm: list[float]
    licence: str
    trained_on: str = ""
    measured_on: str = ""
    intended_use: str = ""
    metrics: dict[str, Any] = Field(default_factory=dict)


class Answer(Message):
    """What an operation answers. Paths are relative to the data root.

    `added_path` is a mask of only those voxels that were added, where that was asked for.

    A request for several tasks on the same images has one answer for each in `parts`.
    """

    ticket: str
    cached: bool = False
    operation: str
    mask_path: str | None = None
    labels_path: str | None = None
    added_path: str | None = None
    obj_path: str | None = None
    mtl_path: str | None = None
    glb_path: str | None = None
    manifest_path: str
    report: dict[str, Any] = Field(default_factory=dict)
    volumes_ml: dict[str, float] = Field(default_factory=dict)
    warnings: list[str] = Field(default_factory=list)
    parts: dict[str, Answer] = Field(default_factory=dict)


class Event(Message):
    """One line of an `application/x-ndjson` answer.

    `progress` has stage and fraction; `artifact` an answer of a step that is ready; the last
    line is either `result` or `problem`. A gateway adds how long it may still take, and how many
    come before what waits.
    """

    event: Literal["progress", "artifact", "result", "problem"]
    stage: str = ""
    fraction: float | None = None
    seconds_left: float | None = None
    position: int | None = None
    artifact: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    problem: dict[str, Any] | None = None

    def line(self) -> bytes:
        """The event as one line of NDJSON."""
        return self.model_dump_json(exclude_none=True).encode() + b"\n"
