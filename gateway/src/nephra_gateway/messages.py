"""What the gateway itself is asked and answers: whole cases."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from nephra_contract.messages import Message

Phase = Literal["A", "P", "D"]


class CaseRequest(Message):
    """One patient's phases, and what is wanted of them."""

    phases: dict[Phase, str] = Field(
        min_length=1,
        description="Paths of the images: A arterial, P portal-venous, D delayed; any subset.",
    )
    structures: list[str] | None = Field(
        default=None,
        min_length=1,
        description="Names or groups of GET /labels, and 'organs', 'bones', 'vessels', 'fat'; "
        "only the steps that they need are run. Without: all that the phases allow.",
    )
    bundles: dict[str, str] = Field(
        default_factory=dict, description="Models other than the default: task to bundle."
    )
    parameters: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="Parameters of single steps, by operation: "
        '{"postprocess/vessel": {"structures": ["artery"]}}.',
    )
    strict_phases: bool = Field(
        default=False,
        description="Refuse an image that contradicts its phase; else it is a warning.",
    )
    preview: bool = Field(
        default=True,
        description="For who waits: a quick scene of a template while the models run, and the "
        "surfaces of each as soon as its mask is there.",
    )


class CaseAnswer(Message):
    """Where all that was made of a case lies. Paths are relative to the data root."""

    ticket: str
    cached: bool = False
    operation: Literal["cases"] = "cases"
    scene_path: str
    obj_path: str
    mtl_path: str | None = None
    glb_path: str | None = None
    mask_path: str
    labels_path: str | None = None
    manifest_path: str
    mask_paths: dict[str, str] = Field(description="The mask of each step.")
    preview: dict[str, str] | None = Field(
        default=None, description="The quick scene, made of a template."
    )
    volumes_ml: dict[str, float]
    report: dict[str, dict[str, Any]] = Field(description="The report of each step.")
    warnings: list[str]
    timings: dict[str, float] = Field(description="Seconds of each step, and of the whole.")


State = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class StepView(Message):
    """One step of a ticket."""

    name: str
    operation: str
    state: Literal["waiting", "running", "finished", "left_out", "failed"]
    fraction: float = 0.0
    stage: str = ""
    seconds: float | None = None
    cached: bool = False


class TicketView(Message):
    """One requested piece of work and its fate."""

    ticket: str
    operation: str
    state: State
    stage: str = Field(description="What is being done, or waited for.")
    fraction: float = Field(description="The part (0..1) that is done.")
    seconds_left: float | None = Field(default=None, description="An estimate.")
    position: int | None = Field(default=None, description="How many queued tickets come before.")
    priority: int = Field(description="0 is most urgent, 7 least.")
    owner: str
    attempts: int = Field(description="How often it was begun since a step last finished.")
    cached: bool = False
    created: str = Field(description="ISO 8601, UTC.")
    started: str | None = None
    ended: str | None = None
    request: dict[str, Any]
    steps: list[StepView] = Field(default_factory=list)
    result: dict[str, Any] | None = Field(default=None, description="The answer.")
    problem: dict[str, Any] | None = Field(default=None, description="Why there is none.")


class TicketPage(Message):
    """Tickets, the newest first."""

    tickets: list[TicketView]
    next: str | None = Field(default=None, description="The cursor of the next page.")


class CacheView(Message):
    """What the prediction cache holds, and how it has served."""

    entries: int
    bytes: int
    max_bytes: int
    unused_s: float
    hits: int
    misses: int
    seconds_saved: float


class FileView(Message):
    """One file below the data root."""

    path: str
    bytes: int
    modified: str = Field(description="ISO 8601, UTC.")
    sha256: str | None = None


class Received(Message):
    """How much of an upload has come."""

    path: str
    bytes: int


class FilePage(Message):
    """What lies in one folder."""

    files: list[FileView]
    folders: list[str]
    next: str | None = Field(default=None, description="The name to go on `after`.")


class Health(Message):
    """Whether a service lives."""

    status: Literal["alive", "ready"]
