"""A case on its way: the steps of its plan, side by side where they do not wait for each other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nephra_contract.errors import InternalError, NephraError, StructureMissing
from nephra_contract.messages import Event
from nephra_gateway.planning import Plan, Step
from nephra_gateway.problems import document

Emit = Callable[[Event], None]

#: Does one step: (step, what tells it from others of its operation, request, emit) → answer.
Run = Callable[[Step, str, Mapping[str, Any], Emit], Awaitable[dict[str, Any]]]


def _ignore(name: str) -> None:
    del name


@dataclass
class Outcomes:
    """What the steps of a case have made.

    Args:
        answers: by result (a step's name, or a task's).
        seconds: by result, from when its step began.
        warnings: sentences for the caller.
    """

    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


class Pipeline:
    """Carries out a plan.

    Args:
        plan: the steps.
        run: does one of them.
        emit: receives progress of the whole, and artifacts.
        left_out: hears of results that there will not be.
    """

    def __init__(
        self, plan: Plan, run: Run, emit: Emit, left_out: Callable[[str], None] = _ignore
    ) -> None:
        self._plan = plan
        self._run = run
        self._emit = emit
        self._left_out = left_out
        self._fractions = dict.fromkeys((s.name for s in plan.steps), 0.0)
        self._ready: dict[str, asyncio.Future[dict[str, Any] | None]] = {}
        self.outcomes = Outcomes()

    async def run(self) -> Outcomes:
        """Do all steps.

        Raises:
            NephraError: of the first needed step that failed; the others are cancelled.
        """
        loop = asyncio.get_running_loop()
        self._ready = {r: loop.create_future() for s in self._plan.steps for r in s.results}
        try:
            async with asyncio.TaskGroup() as group:
                for step in self._plan.steps:
                    group.create_task(self._step(step))
        except BaseExceptionGroup as errors:
            raise _first(errors) from errors
        return self.outcomes

    async def _step(self, step: Step) -> None:
        masks = [await self._ready[name] for name in step.masks]
        if None in masks and not step.needed:
            self._leave_out(step)
            return
        started = time.monotonic()

        def hear(event: Event) -> None:
            if event.event == "artifact":
                self._artifact(step, event, time.monotonic() - started)
            else:
                self._progress(step, event)

        try:
            label = self._plan.label(step)
            answer = await self._run(step, label, self._request(step, masks), hear)
        except NephraError as error:
            missing = document(error).code == StructureMissing.default_code
            if step.needed and not (missing and step.if_missing != "fail"):
                raise
            said = document(error).detail
            if not step.shown:
                self.outcomes.warnings.append(f"The step '{step.name}' was left out: {said}")
            self._leave_out(step, masks[0] if step.if_missing == "unchanged" else None)
            return
        self._finish(step, answer, time.monotonic() - started)

    def _request(self, step: Step, masks: list[dict[str, Any] | None]) -> dict[str, Any]:
        """The request; what is said mask by mask goes with the masks that are not there."""
        request = dict(step.members)
        paths = [m["mask_path"] for m in masks if m is not None]
        if paths:
            request["mask_path"] = paths[0] if len(paths) == 1 else paths
        if len(paths) < len(masks) and "take" in request:
            pairs = zip(request["take"], masks, strict=True)
            request["take"] = [taken for taken, mask in pairs if mask is not None]
        return request

    def _leave_out(self, step: Step, instead: dict[str, Any] | None = None) -> None:
        """Go on without a step's results, or with another one in their place."""
        for name in step.results:
            self._left_out(name)
            self._ready[name].set_result(instead)
        self._progress(step, Event(event="progress", fraction=1.0))

    def _artifact(self, step: Step, event: Event, seconds: float) -> None:
        """One of several results of a step, before the others are there."""
        answer = event.artifact or {}
        name = str(answer.get("operation", "")).rsplit("/", 1)[-1]
        if name in step.gives:
            self._give(name, answer, seconds)
        else:
            self._emit(event)

    def _finish(self, step: Step, answer: dict[str, Any], seconds: float) -> None:
        parts = answer.get("parts", {}) if step.gives else {step.name: answer}
        for name in step.results:
            if name not in parts:
                raise InternalError(
                    f"The step '{step.name}' did not make '{name}'.",
                    "Check that gateway and predictors are of one version.",
                )
            self._give(name, parts[name], seconds, told=not step.shown)
        self._progress(step, Event(event="progress", stage="done", fraction=1.0))

    def _give(
        self, name: str, answer: dict[str, Any], seconds: float, *, told: bool = True
    ) -> None:
        if self._ready[name].done():
            return  # it came as an artifact already
        self.outcomes.answers[name] = answer
        self.outcomes.seconds[name] = round(seconds, 3)
        if told:
            self.outcomes.warnings += [f"{name}: {w}" for w in answer.get("warnings", [])]
        self._ready[name].set_result(answer)
        self._emit(Event(event="artifact", stage=name, artifact=answer))

    def _progress(self, step: Step, event: Event) -> None:
        self._fractions[step.name] = max(event.fraction or 0.0, self._fractions[step.name])
        whole = sum(s.weight for s in self._plan.steps)
        done = sum(self._fractions[s.name] * s.weight for s in self._plan.steps)
        said = f"{step.name}: {event.stage}" if event.stage else step.name
        told = {"stage": said, "fraction": round(done / whole, 4)}
        self._emit(event.model_copy(update=told))


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error that a caller may see; else the first at all."""
    known, _ = errors.split(NephraError)
    found: BaseException = known or errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found
