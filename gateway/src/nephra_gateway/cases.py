"""A whole case: judged, planned, carried out, and written down."""

from __future__ import annotations

import asyncio
import datetime
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from nephra_contract import labels as names
from nephra_contract.messages import Event
from nephra_contract.paths import DataRoot
from nephra_contract.results import RESULTS, sha256, write_json
from nephra_gateway.inputs import check_phases
from nephra_gateway.messages import CaseAnswer, CaseRequest
from nephra_gateway.pipeline import Outcomes, Pipeline
from nephra_gateway.planning import Plan, plan
from nephra_gateway.predictors import Predictors
from nephra_gateway.tickets import Tickets


@dataclass(frozen=True)
class Cases:
    """Turns phases into scenes.

    Args:
        data: the data root.
        predictors: who does the steps.
        tickets: keeps results whole.
        max_voxels: the largest image.
    """

    data: DataRoot
    predictors: Predictors
    tickets: Tickets
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
        self,
        request: CaseRequest,
        made: Plan,
        warnings: list[str],
        ticket: str,
        emit: Callable[[Event], None],
    ) -> CaseAnswer:
        """Carry out a plan; whole or not at all.

        Raises:
            NephraError: of the step that failed. Cancelling it cancels all steps.
        """
        started = time.monotonic()
        pipeline = Pipeline(made, ticket, self.predictors.run, emit)
        async with self.tickets.whole(ticket):
            hashing = asyncio.ensure_future(asyncio.to_thread(self._digests, request))
            try:
                outcomes = await pipeline.run()
                digests = await hashing
            finally:
                hashing.cancel()
            outcomes.seconds["total"] = round(time.monotonic() - started, 3)
            outcomes.warnings[:0] = warnings + self._absent(made, outcomes)
            answer = self._answer(ticket, outcomes)
            await asyncio.to_thread(self._write, request, made, outcomes, digests, answer)
        return answer

    def _digests(self, request: CaseRequest) -> dict[str, dict[str, str]]:
        return {
            phase: {"path": path, "sha256": sha256(self.data.file(path))}
            for phase, path in request.phases.items()
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

    def _write(
        self,
        request: CaseRequest,
        made: Plan,
        outcomes: Outcomes,
        digests: dict[str, dict[str, str]],
        answer: CaseAnswer,
    ) -> None:
        steps = [
            {
                "name": name,
                "operation": step.get("operation"),
                "seconds": outcomes.seconds.get(name),
                "manifest_path": step.get("manifest_path"),
                "manifest": self._manifest(step),
            }
            for name, step in outcomes.answers.items()
        ]
        content: dict[str, Any] = {
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
        write_json(self.data.resolve(answer.manifest_path), content)

    def _manifest(self, step: dict[str, Any]) -> Any:
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
