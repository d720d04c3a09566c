"""A whole case: judged, planned, carried out, and written down."""

from __future__ import annotations

import asyncio
import datetime
import json
import time
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from nephra_contract import labels as names
from nephra_contract.fences import RESULTS
from nephra_contract.paths import DataRoot
from nephra_gateway.content import Contents
from nephra_gateway.fingerprint import Content
from nephra_gateway.inputs import check_phases
from nephra_gateway.keys import digest_of
from nephra_gateway.messages import CaseAnswer, CaseRequest
from nephra_gateway.pipeline import Outcomes, Pipeline
from nephra_gateway.planning import Plan, plan
from nephra_gateway.predictors import Predictors
from nephra_gateway.stages import Stages


@dataclass(frozen=True)
class Cases:
    """Turns phases into scenes.

    Args:
        data: the data root.
        predictors: who does the steps.
        contents: of the phases' files.
        max_voxels: the largest image.
    """

    data: DataRoot
    predictors: Predictors
    contents: Contents
    max_voxels: int

    async def prepare(self, request: CaseRequest) -> tuple[Plan, list[str]]:
        """Judge a request before any work starts; gives its plan and warnings.

        Raises:
            NephraError: what cannot be done, and why.
        """
        await self.predictors.find("inference")
        offered = {o.name for o in await self.predictors.operations()}
        made = plan(request, offered)
        for operation in made.operations:
            await self.predictors.find(operation)
        phases = {str(phase): path for phase, path in request.phases.items()}
        warnings = await asyncio.to_thread(check_phases, self.data, phases, self.max_voxels)
        return made, warnings

    async def run(
        self, request: CaseRequest, made: Plan, warnings: list[str], stages: Stages
    ) -> CaseAnswer:
        """Carry out a plan.

        Args:
            request: as it came.
            made: its plan.
            warnings: that were found with it.
            stages: does the steps, and knows for which ticket.

        Raises:
            NephraError: of the step that failed. Cancelling it cancels all steps.
            LeaseLost: another one works on the ticket.
        """
        started = time.monotonic()
        journal = stages.journal
        pipeline = Pipeline(made, stages.run, journal, journal.left_out)
        hashing = asyncio.ensure_future(self._digests(request))
        try:
            outcomes = await pipeline.run()
            digests = await hashing
        finally:
            hashing.cancel()
        outcomes.seconds["total"] = round(time.monotonic() - started, 3)
        outcomes.warnings[:0] = warnings + self._absent(made, outcomes)
        answer = self._answer(journal.ticket.id, outcomes)
        content = await asyncio.to_thread(self._manifest, request, made, outcomes, digests, answer)
        await stages.write_manifest(content)
        return answer

    async def key(self, request: CaseRequest) -> str | None:
        """By what the whole case is found again; None where an image is not known."""
        contents = await asyncio.gather(*(self.contents.of(p) for p in request.phases.values()))
        return self._key(request, list(contents))

    def known_key(self, request: CaseRequest) -> str | None:
        """As `key`, but at once: None where an image would have to be read."""
        return self._key(request, [self.contents.known(p) for p in request.phases.values()])

    def _key(self, request: CaseRequest, contents: list[Content | None]) -> str | None:
        found = [content.voxels for content in contents if content is not None]
        if len(found) < len(contents) or not self.predictors.heard_of_all:
            return None
        # What a plan is made of: whatever is offered may be a step of it.
        offered = sorted((o.name, o.version, o.code) for o in self.predictors.offered())
        bundles = sorted((b.name, b.task, b.digest, b.default) for b in self.predictors.loaded())
        said = request.model_dump(mode="json", exclude={"phases"})
        phases = dict(zip(request.phases, found, strict=True))
        return digest_of(["nephra case 1", phases, said, offered, bundles])

    async def _digests(self, request: CaseRequest) -> dict[str, dict[str, Any]]:
        # The pass over each image that gives its key gives this too.
        paths = request.phases
        found = await asyncio.gather(*(self.contents.of(p) for p in paths.values()))
        return {
            phase: {"path": path, "sha256": None if content is None else content.file}
            for (phase, path), content in zip(paths.items(), found, strict=True)
        }

    def _absent(self, made: Plan, outcomes: Outcomes) -> list[str]:
        """Structures that were asked for by name and are not in the result."""
        found = outcomes.answers["merge"].get("volumes_ml", {})
        groups = {names.table()[n].group for n in made.wanted}
        present = {names.table()[names.numbers()[f]].group for f in found if f in names.numbers()}
        return [f"Nothing of the group '{g}' was found." for g in sorted(groups - present)]

    def _answer(self, ticket: str, outcomes: Outcomes) -> CaseAnswer:
        merged, scene = outcomes.answers["merge"], outcomes.answers["scene"]
        return CaseAnswer(
            ticket=ticket,
            cached=all(a.get("cached", False) for a in outcomes.answers.values()),
            scene_path=scene["obj_path"],
            obj_path=scene["obj_path"],
            mtl_path=scene.get("mtl_path"),
            glb_path=scene.get("glb_path"),
            mask_path=merged["mask_path"],
            labels_path=merged.get("labels_path"),
            manifest_path=f"{RESULTS}/{ticket}/manifest.json",
            mask_paths={
                n: a["mask_path"] for n, a in outcomes.answers.items() if a.get("mask_path")
            },
            preview=_preview(outcomes),
            volumes_ml=merged.get("volumes_ml", {}),
            report={n: a["report"] for n, a in outcomes.answers.items() if a.get("report")},
            warnings=outcomes.warnings,
            timings=outcomes.seconds,
        )

    def _manifest(
        self,
        request: CaseRequest,
        made: Plan,
        outcomes: Outcomes,
        digests: dict[str, dict[str, Any]],
        answer: CaseAnswer,
    ) -> dict[str, Any]:
        steps = [
            {
                "name": name,
                "operation": step.get("operation"),
                "seconds": outcomes.seconds.get(name),
                "manifest_path": step.get("manifest_path"),
                "cached": step.get("cached", False),
                "manifest": self._manifest_of(step),
            }
            for name, step in outcomes.answers.items()
        ]
        return {
            "operation": "cases",
            "ticket": answer.ticket,
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "versions": {"nephra": version("nephra-contract")},
            "request": request.model_dump(mode="json", exclude_none=True),
            "inputs": digests,
            "reference_phase": made.reference,
            "plan": [{"step": s.name, "operation": s.operation, "of": s.masks} for s in made.steps],
            "steps": steps,
            "outputs": answer.model_dump(
                mode="json", include={"scene_path", "mtl_path", "glb_path", "mask_path"}
            ),
            "volumes_ml": answer.volumes_ml,
            "warnings": answer.warnings,
            "timings": answer.timings,
        }

    def _manifest_of(self, step: dict[str, Any]) -> Any:
        path = step.get("manifest_path")
        if not path:
            return None
        return json.loads(self.data.file(path).read_text(encoding="utf-8"))


def _preview(outcomes: Outcomes) -> dict[str, str] | None:
    answer = outcomes.answers.get("preview")
    if answer is None:
        return None
    members = ("obj_path", "mtl_path", "glb_path", "manifest_path")
    return {m: answer[m] for m in members if answer.get(m)}
