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
        default=True, description="Make a quick scene of a template while the slow models run."
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


class Health(Message):
    """Whether a service lives."""

    status: Literal["alive", "ready"]
