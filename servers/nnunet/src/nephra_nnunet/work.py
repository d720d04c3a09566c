"""One request: read each image once, run the models, publish their masks."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from nephra_contract.errors import RequestInvalid
from nephra_contract.execution import Origin, publish
from nephra_contract.fences import check_open
from nephra_contract.messages import Answer
from nephra_contract.operation import Operation, Outcome, Request
from nephra_contract.paths import DataRoot
from nephra_contract.progress import Progress
from nephra_contract.results import (
    check_output,
    new_ticket,
    remove_results,
    result_folder,
    write_json,
)
from nephra_contract.sides import assign_sides, midline_x_mm
from nephra_contract.volume import LabelMap
from nephra_nnunet.bundle import Bundle
from nephra_nnunet.engine import Engine
from nephra_nnunet.images import Images
from nephra_nnunet.manifest import Phase
from nephra_nnunet.memory import Scan, request_bytes
from nephra_nnunet.operations import OPERATIONS
from nephra_nnunet.operations.parameters import OneTaskParameters
from nephra_nnunet.operations.several import Several
from nephra_nnunet.phases import Enhancement, judge, measure
from nephra_nnunet.preparation import Image, Preparations
from nephra_nnunet.reader import Reader
from nephra_nnunet.tasks import Job, choose_phases

_BY_NAME: Mapping[str, Operation] = {o.name: o for o in OPERATIONS}


@dataclass(frozen=True)
class Work:
    """One request under way.

    Args:
        engine: the models.
        data: the data root.
        operation: that was asked for.
        request: as parsed.
        images: of the request.
        jobs: what is to be done, in order.
        preparations: what is prepared for them.
        needed_bytes: memory that it takes at its peak.
    """

    engine: Engine
    data: DataRoot
    operation: Operation
    request: Request
    images: Images
    jobs: tuple[Job, ...]
    preparations: Preparations
    needed_bytes: int = 0

    @classmethod
    def begin(
        cls,
        engine: Engine,
        data: DataRoot,
        reader: Reader,
        operation: Operation,
        request: Request,
    ) -> Work:
        """Decide everything that can be decided before a voxel is read.

        Raises:
            NephraError: whatever is wrong with the request itself.
        """
        paths = {
            i.name: data.file(request.files[i.name][0])
            for i in operation.inputs
            if i.name in request.files
        }
        _check_output(operation, request, data, set(paths.values()))
        members = {i.phase: i.name for i in operation.inputs if i.name in paths}
        cache = engine.memory.cache
        images = Images({p: paths[n] for p, n in members.items()}, members, reader, cache)
        jobs = _jobs(engine, operation, request, tuple(members))
        work = cls(engine, data, operation, request, images, jobs, Preparations(cache))
        scans = work._scans()
        needed = request_bytes(
            [(j.bundle, [images.scan(p) for p in j.phases]) for j in jobs], list(scans.values())
        )
        engine.memory.check(needed, scans)
        return replace(work, needed_bytes=needed)

    def make_room(self) -> None:
        """Have the memory free that the request needs; see `Memory.make_room`."""
        self.engine.memory.make_room(self.needed_bytes, self._scans())

    def _scans(self) -> dict[str, Scan]:
        """The images that are needed, by what the request calls them."""
        needed = {phase for job in self.jobs for phase in job.phases}
        members = self.images.members
        return {members[p]: self.images.scan(p) for p in members if p in needed}

    def one(self, progress: Progress) -> Answer:
        """Answer a request for one task."""
        self._read(progress)
        return self._run(self.jobs[0], self.request, progress.part(0.05, 1.0), told=True)

    def several(self, progress: Progress) -> Answer:
        """Answer a request for several tasks; each mask is announced as soon as it is there."""
        common = self.request.common
        ticket = common.ticket or new_ticket()
        request = replace(self.request, common=common.model_copy(update={"ticket": ticket}))
        parts: dict[str, Answer] = {}
        try:
            self._read(progress)
            for number, job in enumerate(self.jobs):
                share = 0.95 / len(self.jobs)
                part = progress.part(0.05 + number * share, 0.05 + (number + 1) * share)
                parts[job.task] = self._run(job, request, part)
                progress.artifact(job.task, parts[job.task].model_dump(mode="json"))
            return self._gather(ticket, parts)
        except BaseException:
            # A request that fails as a whole leaves nothing, not even its finished masks; but
            # who opened the ticket may have them in use, will try again, and clears up after it.
            if common.fence is None:
                remove_results(self.data, ticket, [a.manifest_path for a in parts.values()])
            raise

    def _read(self, progress: Progress) -> None:
        """Read all that is needed, so that a bad image is refused before long work begins."""
        check_open(self.data, self.request.common.ticket, self.request.common.fence)
        progress.advance(0.0, "reading")
        for job in self.jobs:
            self.images.check_together(job.phases)
            for phase in job.phases:
                self.images.image(phase)
                progress.advance(0.0, "reading")

    def _run(self, job: Job, request: Request, progress: Progress, told: bool = False) -> Answer:
        """Run one job; `told`: its answer says what was read and prepared for it."""
        started = time.perf_counter()
        named = _named(progress, job.task)
        channels = self.images.channels(job.phases, named.part(0.0, 0.05))
        align_s = time.perf_counter() - started
        parameters = request.parameters
        mirroring = bool(getattr(parameters, "mirroring", False))
        labels, timings = self.engine.predict(
            job.bundle, channels, self.preparations, mirroring, named.part(0.05, 0.97)
        )
        fallback = self.images.midline_x_mm(job.phases[0])
        labels = assign_sides(labels, midline_x_mm(labels, fallback))
        strict = bool(getattr(parameters, "strict_phases", False))
        found, warnings = _judge(job, channels, labels, strict)
        named.advance(0.98, "writing")
        return publish(
            self._origin(job, mirroring, found),
            Outcome(labels, self._report() if told else {}, tuple(warnings)),
            request,
            self.data,
            {"align_s": align_s, **timings.named()},
        )

    def _origin(self, job: Job, mirroring: bool, found: Mapping[Phase, Enhancement]) -> Origin:
        bundle = job.bundle
        used = {self.images.members[p]: [self.images.paths[p]] for p in job.phases}
        return Origin(
            operation=job.operation,
            version=_BY_NAME[job.operation].version,
            inputs=used,
            parameters=self.request.parameters.model_dump(mode="json"),
            details={
                "bundle": {
                    "name": bundle.name,
                    "version": bundle.manifest.version,
                    "digest": bundle.digest,
                    "licence": bundle.manifest.licence,
                    "intended_use": bundle.manifest.intended_use,
                },
                "engine": {
                    "backend": self.engine.backend.name,
                    "mirroring": mirroring and any(p.mirror_axes for p in bundle.parts),
                    "networks": [_network(part) for part in bundle.parts],
                },
                "phases": [p or "unnamed" for p in job.phases],
                "enhancement_hu": {p: e.named() for p, e in found.items()},
            },
        )

    def _report(self) -> dict[str, Any]:
        """What was read and prepared: nothing, where an earlier request or model did it."""
        data = self.data
        return {
            "reads": {data.name(path): count for path, count in self.images.reads.items()},
            "prepared_channels": self.preparations.made,
        }

    def _gather(self, ticket: str, parts: Mapping[str, Answer]) -> Answer:
        """The answer that holds the tasks' answers, with a manifest that names theirs."""
        data, report, fence = self.data, self._report(), self.request.common.fence
        # Another attempt may have to make fewer of them.
        name = f"{self.operation.name}-of-{'-'.join(parts)}"
        with result_folder(data, ticket, name, fence) as (partial, final):
            write_json(
                partial / "manifest.json",
                {
                    "operation": self.operation.name,
                    "ticket": ticket,
                    "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                    "parameters": self.request.parameters.model_dump(mode="json"),
                    "parts": {task: a.manifest_path for task, a in parts.items()},
                    "report": report,
                },
            )
        return Answer(
            ticket=ticket,
            operation=self.operation.name,
            manifest_path=data.name(final / "manifest.json"),
            report=report,
            warnings=[w for a in parts.values() for w in a.warnings],
            parts=dict(parts),
        )


def _network(part: Bundle) -> dict[str, Any]:
    """A network as a manifest says it."""
    return {
        "spacing_mm": list(part.plans.spacing_mm),
        "patch": list(part.plans.patch),
        "folds": len(part.checkpoints),
        "precision": part.manifest.precision,
    }


def _jobs(
    engine: Engine, operation: Operation, request: Request, given: tuple[Phase | None, ...]
) -> tuple[Job, ...]:
    """What is to be done, checked against the models and the phases that there are."""
    parameters = request.parameters
    if isinstance(parameters, Several):
        wanted = {t: parameters.bundles.get(t) for t in parameters.tasks}
        idle = sorted(set(parameters.bundles) - set(wanted))
        if idle:
            raise RequestInvalid(
                f"'bundles' names models for tasks that are not asked for: {', '.join(idle)}.",
                "Add them to 'tasks', or leave them out of 'bundles'.",
            )
    else:
        name = parameters.bundle if isinstance(parameters, OneTaskParameters) else None
        wanted = {operation.model: name}  # type: ignore[dict-item]
    jobs = []
    for task, name in wanted.items():
        bundle = engine.find(task, name)
        jobs.append(Job(task, bundle, choose_phases(bundle, given)))
    # Organs are quick, and what can be shown first stands on them.
    return tuple(sorted(jobs, key=lambda job: job.task != "totalseg"))


def _judge(
    job: Job, channels: list[Image], labels: LabelMap, strict: bool
) -> tuple[dict[Phase, Enhancement], list[str]]:
    """Enhancement of each phase that was named, and sentences on what does not fit."""
    found: dict[Phase, Enhancement] = {}
    warnings = []
    for phase, image in zip(job.phases, channels, strict=True):
        if phase is not None:
            found[phase] = measure(image.volume, labels)
            warning = judge(found[phase], phase, strict)
            warnings += [warning] if warning else []
    if not labels.present:
        warnings.append(
            f"The model '{job.bundle.name}' found none of its structures: look whether the image "
            "shows them, before taking this for their absence."
        )
    return found, warnings


def _check_output(
    operation: Operation, request: Request, data: DataRoot, protected: set[Any]
) -> None:
    target = request.common.output_path
    if target is not None and operation.name == "inference":
        raise RequestInvalid(
            "'output_path' names one file, but several tasks make several.",
            "Leave it out, and take the paths from the answer's parts.",
        )
    if target is not None:
        check_output("mask.nii.gz", data, target, protected)


def _named(progress: Progress, task: str) -> Progress:
    """The same progress, each stage said with its task."""
    report = progress.report
    return replace(progress, report=lambda done, stage: report(done, f"{task}: {stage}"))
