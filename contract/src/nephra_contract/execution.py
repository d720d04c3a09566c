"""From a request to an answer: read the files, run the operation, publish what it made."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from nephra_contract import labels as names
from nephra_contract.errors import FileMissing, OperationUnknown, Refused
from nephra_contract.fences import check_open, while_open
from nephra_contract.labels import LabelSpace
from nephra_contract.merge import merge
from nephra_contract.messages import Answer, BundleDescription, OperationDescription
from nephra_contract.nifti import read_image, read_labels, write_labels
from nephra_contract.nifti_header import MAX_VOXELS
from nephra_contract.operation import Common, Input, Operation, Outcome, Request
from nephra_contract.paths import DataRoot
from nephra_contract.progress import Progress
from nephra_contract.results import (
    check_output,
    nephra_version,
    new_ticket,
    place,
    result_folder,
    sha256,
    write_json,
)
from nephra_contract.scene_files import write_scene
from nephra_contract.sides import assign_sides
from nephra_contract.volume import LabelMap, Volume


class Runner(Protocol):
    """What a predictor is to the KServe shell and to the command line."""

    def describe(self) -> list[OperationDescription]:
        """The operations that it offers."""
        ...

    def bundles(self) -> list[BundleDescription]:
        """The models that it has loaded; empty for services without models."""
        ...

    def run(self, model: str, request: Mapping[str, Any], progress: Progress) -> Answer:
        """Serve one request to the KServe model of that name.

        Raises:
            NephraError: whatever went wrong, said for the caller.
        """
        ...


@dataclass(frozen=True)
class Origin:
    """Where a result comes from, as its manifest says it.

    Args:
        operation: its name.
        version: of its algorithm.
        inputs: request member → files, as resolved.
        parameters: as used, defaults filled in.
        details: further members of the manifest (bundle digest, phases, …).
    """

    operation: str
    version: str
    inputs: Mapping[str, list[Path]]
    parameters: Mapping[str, Any]
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OperationRunner:
    """Runs pure operations on files. A service whose steps need only masks is just this."""

    predictor: str
    operations: Mapping[str, Operation]
    data: DataRoot
    max_voxels: int = MAX_VOXELS

    @classmethod
    def of(
        cls, predictor: str, operations: tuple[Operation, ...], data: DataRoot, max_voxels: int
    ) -> OperationRunner:
        """A runner whose operations are found by their KServe model's name."""
        return cls(predictor, {o.model: o for o in operations}, data, max_voxels)

    def describe(self) -> list[OperationDescription]:
        """The operations that it offers."""
        return [o.describe(self.predictor) for o in self.operations.values()]

    def bundles(self) -> list[BundleDescription]:
        """None: no models here."""
        return []

    def run(self, model: str, request: Mapping[str, Any], progress: Progress) -> Answer:
        """Run one operation. See `Runner.run`."""
        if model not in self.operations:
            raise OperationUnknown(
                f"{self.predictor} offers no '{model}'.",
                f"It offers: {', '.join(self.operations)}.",
            )
        return execute(self.operations[model], request, self.data, progress, self.max_voxels)


def execute(
    operation: Operation,
    request: Mapping[str, Any],
    data: DataRoot,
    progress: Progress,
    max_voxels: int = MAX_VOXELS,
) -> Answer:
    """Run one operation on files.

    Raises:
        NephraError: bad input, cancelled, or a defect; nothing is left behind.
    """
    parsed = operation.parse(request)
    check_open(data, parsed.common.ticket, parsed.common.fence)
    paths = {name: [data.file(p) for p in given] for name, given in parsed.files.items()}
    if parsed.common.output_path is not None:
        made = "scene.obj" if operation.output == "scene" else "mask.nii.gz"
        check_output(made, data, parsed.common.output_path, _protected(paths))
    started = time.perf_counter()
    progress.advance(0.0, "reading")
    inputs = [
        _read(item, paths.get(item.name), parsed.labels, max_voxels) for item in operation.inputs
    ]
    read_s = time.perf_counter() - started
    outcome = operation.function(*inputs, parsed.parameters, progress.part(0.1, 0.9))
    if not isinstance(outcome, Outcome):
        outcome = Outcome(outcome)
    computed_s = time.perf_counter() - started - read_s
    origin = Origin(
        operation.name, operation.version, paths, parsed.parameters.model_dump(mode="json")
    )
    progress.advance(0.9, "writing")
    timings = {"read_s": read_s, "compute_s": computed_s}
    answer = publish(origin, outcome, parsed, data, timings)
    progress.advance(1.0, "done")
    return answer


def publish(
    origin: Origin,
    outcome: Outcome,
    request: Request,
    data: DataRoot,
    timings: Mapping[str, float],
) -> Answer:
    """Write an outcome into `results/<ticket>/<operation>/` and say where it is.

    Raises:
        Cancelled: the ticket was closed in the meantime, or another attempt has begun.
    """
    common = request.common
    ticket = common.ticket or new_ticket()
    written_at = time.perf_counter()
    name = origin.operation.replace("/", "-")
    with result_folder(data, ticket, name, common.fence) as (partial, final):
        made = _write(partial, outcome, _stem(request.common.output_path))
        volumes = _volumes_ml(outcome.value)
        outputs = {
            m: {"path": data.name(final / f), "sha256": sha256(partial / f)}
            for m, f in made.items()
        }
        manifest = _manifest(origin, outcome, data, ticket, volumes, outputs)
        manifest["timings"] = {
            **{k: round(v, 3) for k, v in timings.items()},
            "write_s": round(time.perf_counter() - written_at, 3),
        }
        write_json(partial / "manifest.json", manifest)
    if common.fence is not None:
        # Another attempt at the same may have been the first: what is said is said of its result.
        with while_open(data, common.ticket, common.fence):
            manifest = json.loads((final / "manifest.json").read_text(encoding="utf-8"))
    paths: dict[str, Any] = {m: data.name(final / name) for m, name in made.items()}
    if common.output_path is not None:
        paths |= _place_all(final, made, data, common, origin.inputs)
    return Answer(
        ticket=ticket,
        operation=origin.operation,
        manifest_path=data.name(final / "manifest.json"),
        report=manifest["report"],
        volumes_ml=manifest["volumes_ml"],
        warnings=manifest["warnings"],
        **paths,
    )


def _read(
    item: Input, paths: list[Path] | None, space: LabelSpace, max_voxels: int
) -> Volume | list[LabelMap] | None:
    if not paths:
        return None
    if item.kind == "image":
        return read_image(paths[0], max_voxels)
    maps = [_named(read_labels, p, item, item.space or space, max_voxels) for p in paths]
    if item.separate:
        return [assign_sides(m) for m in maps]
    return assign_sides(merge(maps))


def _named(read: Any, path: Path, item: Input, space: LabelSpace, max_voxels: int) -> LabelMap:
    try:
        labels: LabelMap = read(path, space, max_voxels)
    except Refused as error:
        error.extra.setdefault("member", item.name)
        raise
    except FileNotFoundError as error:
        raise FileMissing(f"The file of '{item.name}' has gone.", "Upload it again.") from error
    return labels


def _stem(output_path: str | None) -> str | None:
    """What files are called: as the caller asked, so that an OBJ names its own MTL."""
    return None if output_path is None else PurePosixPath(output_path).name.split(".", 1)[0]


def _write(folder: Path, outcome: Outcome, stem: str | None) -> dict[str, str]:
    """Write the files of an outcome; gives the answer's member → file name."""
    if not isinstance(outcome.value, LabelMap):
        return write_scene(folder, outcome.value, stem or "scene")
    mask, table = f"{stem or 'mask'}.nii.gz", f"{stem or 'mask'}.labels.json"
    write_labels(folder / mask, outcome.value)
    write_json(folder / table, names.describe(outcome.value.present))
    made = {"mask_path": mask, "labels_path": table}
    for name, layer in outcome.layers.items():
        made[f"{name}_path"] = f"{stem or 'mask'}-{name}.nii.gz"
        write_labels(folder / made[f"{name}_path"], layer)
    return made


def _volumes_ml(value: Any) -> dict[str, float]:
    if isinstance(value, LabelMap):
        return {names.name_of(n): round(v, 4) for n, v in value.volumes_ml().items()}
    return {names.name_of(m.label): round(m.volume_mm3 / 1000, 4) for m in value.meshes}


def _manifest(
    origin: Origin,
    outcome: Outcome,
    data: DataRoot,
    ticket: str,
    volumes: Mapping[str, float],
    outputs: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "operation": origin.operation,
        "ticket": ticket,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"nephra": nephra_version(), origin.operation: origin.version},
        "inputs": {
            name: [{"path": data.name(p), "sha256": sha256(p)} for p in paths]
            for name, paths in origin.inputs.items()
        },
        "parameters": dict(origin.parameters),
        **origin.details,
        "outputs": dict(outputs),
        "volumes_ml": dict(volumes),
        "report": dict(outcome.report),
        "warnings": list(outcome.warnings),
    }


def _place_all(
    final: Path,
    made: Mapping[str, str],
    data: DataRoot,
    common: Common,
    inputs: Mapping[str, list[Path]],
) -> dict[str, str]:
    """Copies of all files in the folder of `output_path`; they bear its name already."""
    folder = PurePosixPath(common.output_path or "").parent
    workshop = None if common.fence is None else common.fence.workshop(final.parent)
    placed = {}
    for member, name in made.items():
        with while_open(data, common.ticket, common.fence):
            path = place(final / name, data, str(folder / name), _protected(inputs), workshop)
        placed[member] = data.name(path)
    return placed


def _protected(inputs: Mapping[str, list[Path]]) -> set[Path]:
    return {p for paths in inputs.values() for p in paths}
