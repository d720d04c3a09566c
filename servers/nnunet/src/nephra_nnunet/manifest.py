"""`bundle.yaml`: what nephra has to know of a trained nnU-Net that nnU-Net itself does not say."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from nephra_contract import labels as names
from nephra_contract.errors import BundleInvalid
from nephra_contract.results import sha256
from nephra_nnunet.backends import Precision
from nephra_nnunet.orientation import check_code
from nephra_nnunet.plans import Heads

TaskName = Literal["totalseg", "vessel", "ureter", "tumor"]
Phase = Literal["A", "P", "D"]
MANIFEST = "bundle.yaml"
NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"
PartName = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]


class BundleManifest(BaseModel):
    """`bundle.yaml`, of one network or of several whose labels are merged."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=NAME_PATTERN)
    task: TaskName
    version: str = "1"
    default: bool = False
    channels: list[Phase | list[Phase]] = Field(
        min_length=1, description="Per channel its phase, or phases in order of preference."
    )
    labels: dict[str, int | None] = Field(
        default_factory=dict,
        description="Class of dataset.json → number in nephra's table; null drops it.",
    )
    parts: list[PartName] = Field(
        default_factory=list,
        description="Folders of the bundles that this one is made of; each says its own labels, "
        "which are merged in this order, the later over the earlier.",
    )
    folds: list[int | Literal["all"]] = Field(default=[0], min_length=1)
    checkpoint: str = "checkpoint_final.pth"
    configuration: str | None = Field(
        default=None, description="Configuration of the plans; the checkpoint's own where left out."
    )
    orientation: str | None = Field(
        default=None,
        description="Directions of the training images' axes, such as LPS: images are turned "
        "to them. Left out, images are taken as they are stored, like nnU-Net does.",
    )
    precision: Precision = Field(
        default="float32",
        description="Of the network's numbers on a CPU; bfloat16 is admitted by a self-test only.",
    )
    licence: str = ""
    source: str = Field(default="", description="Where the weights come from.")
    trained_on: str = ""
    measured_on: str = ""
    intended_use: str = ""
    metrics: dict[str, Any] = Field(default_factory=dict)
    files: dict[str, str] = Field(description="File → sha256.")

    @field_validator("checkpoint", "files")
    @classmethod
    def _check_names(cls, value: Any) -> Any:
        for name in [value] if isinstance(value, str) else value:
            if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise ValueError(f"'{name}' leads out of the bundle")
        return value

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        if bool(self.labels) == bool(self.parts):
            raise ValueError("either 'labels' (one network) or 'parts' (several) has to be there")
        if len(set(self.parts)) != len(self.parts):
            raise ValueError("a part is named twice")
        if self.precision == "bfloat16" and "bfloat16" not in self.metrics:
            raise ValueError("'precision: bfloat16' is written by `bundle add --bfloat16` only")
        return self

    @property
    def phases(self) -> list[list[Phase]]:
        """Per channel the phases that it takes, in order of preference."""
        return [list(c) if isinstance(c, list) else [c] for c in self.channels]

    def checkpoint_files(self) -> list[str]:
        """One file per fold, relative to the bundle."""
        return [f"fold_{fold}/{self.checkpoint}" for fold in self.folds]

    def needed_files(self) -> list[str]:
        """What inference reads, relative to the bundle."""
        if self.parts:
            return [f"{part}/{MANIFEST}" for part in self.parts]
        return ["dataset.json", "plans.json", *self.checkpoint_files()]


def read_manifest(folder: Path) -> tuple[BundleManifest, str]:
    """Read `bundle.yaml`; gives it and its sha256.

    Raises:
        BundleInvalid: not there, no YAML, or members that are not understood.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleInvalid(
            f"The bundle '{folder.name}' has no {MANIFEST}.",
            "Add it with `python -m nephra_nnunet bundle add`.",
        )
    raw = path.read_bytes()
    try:
        manifest = BundleManifest.model_validate(yaml.safe_load(raw))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BundleInvalid(f"{MANIFEST} is not YAML.", "Write it again.") from error
    except ValidationError as error:
        said = "; ".join(
            f"{'.'.join(str(p) for p in e['loc']) or 'the document'}: {e['msg']}"
            for e in error.errors(include_url=False, include_input=False)[:5]
        )
        raise BundleInvalid(f"{MANIFEST} is not understood: {said}.", "Mend it.") from error
    if manifest.orientation is not None:
        check_code(manifest.orientation)
    return manifest, hashlib.sha256(raw).hexdigest()


def check_files(folder: Path, manifest: BundleManifest) -> None:
    """Hold every file to its sha256; those that inference reads must be listed.

    Raises:
        BundleInvalid: a file is missing, changed, or not listed.
    """
    unlisted = sorted(set(manifest.needed_files()) - set(manifest.files))
    if unlisted:
        raise BundleInvalid(
            f"{MANIFEST} lists no sha256 of {', '.join(unlisted)}.",
            "Add the bundle again with `python -m nephra_nnunet bundle add`.",
        )
    for name, digest in manifest.files.items():
        if not (folder / name).is_file():
            raise BundleInvalid(f"The file {name} of the bundle is missing.", "Copy it again.")
        if sha256(folder / name) != digest:
            raise BundleInvalid(
                f"The file {name} is not the one that {MANIFEST} names: its sha256 differs.",
                "Copy the bundle again, or add it anew if the change was meant.",
            )


def check_channels(manifest: BundleManifest) -> None:
    """Refuse channels that the task's endpoint cannot fill.

    Raises:
        BundleInvalid: more channels, or other phases, than a request brings.
    """
    brought: Mapping[TaskName, set[str]] = {"vessel": {"A", "P"}, "ureter": {"D"}}
    allowed = brought.get(manifest.task)
    phases = manifest.phases
    if allowed is None and len(phases) != 1:
        raise BundleInvalid(
            f"The task '{manifest.task}' works on one image, the bundle on {len(phases)}.",
            "Train it with one channel.",
        )
    if allowed is not None and any(not allowed & set(channel) for channel in phases):
        raise BundleInvalid(
            f"The task '{manifest.task}' brings the phases {', '.join(sorted(allowed))}; "
            "a channel of the bundle takes none of them.",
            "Name the channels' phases in bundle.yaml.",
        )


def class_numbers(heads: Heads, labels: Mapping[str, int | None]) -> tuple[int, ...]:
    """For each value of `export.decide`, the number in nephra's table; 0 drops it.

    Raises:
        BundleInvalid: a class without a number, a name that is no class, or a number that
            is not in the table.
    """
    classes = heads.names if heads.regions else heads.names[1:]
    missing = [c for c in classes if c not in labels]
    strangers = sorted(set(labels) - set(classes))
    unknown = sorted({n for n in labels.values() if n and n not in names.table()})
    for found, what in (
        (missing, "gives no number to the classes"),
        (strangers, "names classes that dataset.json does not have"),
        (unknown, "gives numbers that nephra's table does not have"),
    ):
        if found:
            raise BundleInvalid(
                f"bundle.yaml {what}: {', '.join(str(f) for f in found[:10])}.",
                "Map every class of dataset.json to a number of GET /labels, or to null.",
            )
    return (0, *(labels[c] or 0 for c in classes))
