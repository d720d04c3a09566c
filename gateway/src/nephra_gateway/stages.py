"""One step of a ticket: remembered, found in the cache, or done by its predictor."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nephra_contract import traces
from nephra_contract.errors import NephraError
from nephra_contract.messages import Event, OperationDescription
from nephra_contract.paths import DataRoot
from nephra_gateway.cache import Cache, Done, Made
from nephra_gateway.folders import Folders
from nephra_gateway.journal import Journal
from nephra_gateway.keys import Keyed, Keys
from nephra_gateway.planning import Step
from nephra_gateway.predictors import Predictor, Predictors
from nephra_gateway.queues import Place, Queues
from nephra_gateway.retries import Emit


@dataclass(frozen=True)
class Tools:
    """What all tickets of a gateway share.

    Args:
        data: the data root.
        predictors: who does the steps.
        keys: what results are found by.
        cache: where they are found.
        queues: before the predictors.
        folders: of the tickets.
    """

    data: DataRoot
    predictors: Predictors
    keys: Keys
    cache: Cache
    queues: Queues
    folders: Folders


class Stages:
    """Does the steps of one ticket, each of them once.

    Args:
        tools: of the gateway.
        journal: of the ticket.
    """

    def __init__(self, tools: Tools, journal: Journal) -> None:
        self.journal = journal
        self._tools = tools

    async def run(
        self, step: Step, label: str, request: Mapping[str, Any], emit: Emit
    ) -> dict[str, Any]:
        """Do a step.

        Args:
            step: of the plan.
            label: what tells it from others of its operation.
            request: to its predictor.
            emit: receives progress, and the results of a step that has several.

        Returns:
            Its answer; that of a step with several results has them in `parts`.

        Raises:
            NephraError: it cannot be done.
            LeaseLost: another one works on the ticket.
        """
        run = _Run(self._tools, self.journal, step, label, request, emit)
        try:
            with traces.span(step.operation, step=step.name):
                return await run.run()
        except NephraError:
            for part in step.results:
                if self.journal.steps[part].get("state") != "finished":
                    self.journal.note(part, state="failed")
            raise

    def expect(self, steps: Sequence[Step]) -> None:
        """Say which results there will be."""
        for step in steps:
            for part in step.results:
                operation = f"{step.operation}/{part}" if step.gives else step.operation
                self.journal.expect(part, operation)

    async def write_manifest(self, content: Mapping[str, Any]) -> str:
        """Write the ticket's own manifest beside its steps' results; gives its path.

        Raises:
            Cancelled: another attempt has begun.
            Unavailable: the data root cannot be written.
        """
        ticket, attempt = self.journal.ticket.id, self.journal.lease.fence
        return await self._tools.folders.write_manifest(ticket, attempt, content)


class _Run:
    """One step while it is done."""

    def __init__(
        self,
        tools: Tools,
        journal: Journal,
        step: Step,
        label: str,
        request: Mapping[str, Any],
        emit: Emit,
    ) -> None:
        self._tools = tools
        self._figures = tools.predictors.figures
        self._journal = journal
        self._ticket = journal.ticket
        self._step = step
        self._label = label
        self._request = request
        self._emit = emit
        self._given: dict[str, dict[str, Any]] = {}
        self._report: dict[str, Any] = {}

    async def run(self) -> dict[str, Any]:
        missing = [part for part in self._parts() if not self._remembered(part)]
        if missing:
            for part in missing:
                self._journal.note(self._name(part), state="running")
            keyed = await self._keyed()
            await self._tools.cache.once(
                {part: keyed.keys[part] for part in missing},
                self._ticket.id,
                self._make,
                self._give,
                fresh=self._ticket.fresh,
                inputs=keyed.inputs,
            )
        if not self._step.gives:
            return self._given[""]
        return {
            "ticket": self._ticket.id,
            "operation": self._step.operation,
            "cached": all(a["cached"] for a in self._given.values()),
            "report": self._report,
            "warnings": [w for a in self._given.values() for w in a.get("warnings", [])],
            "parts": {part: self._given[part] for part in self._step.gives},
        }

    async def _keyed(self) -> Keyed:
        _, description = await self._find()
        bundles = await self._tools.predictors.bundles()
        return await self._tools.keys.of(description, self._request, bundles, self._step.gives)

    async def _find(self) -> tuple[Predictor, OperationDescription]:
        """Who does it; waits for a predictor that has never been heard of."""
        find, operation = self._tools.predictors.find, self._step.operation
        return await self._tools.predictors.patiently(lambda: find(operation), self._emit)

    def _parts(self) -> Sequence[str]:
        return self._step.gives or ("",)

    def _name(self, part: str) -> str:
        """What the journal calls a result."""
        return part or self._step.name

    def _operation(self, part: str) -> str:
        return f"{self._step.operation}/{part}" if part else self._step.operation

    def _remembered(self, part: str) -> bool:
        """Take what an earlier attempt at the ticket has finished, if it is still there."""
        known = self._journal.steps.get(self._name(part), {})
        if known.get("state") != "finished" or not self._is_there(known["answer"]):
            return False
        self._take(part, known["answer"])
        return True

    def _is_there(self, answer: Mapping[str, Any]) -> bool:
        paths = [answer[m] for m in answer if m.endswith("_path") and answer[m] is not None]
        return all(self._tools.data.resolve(path).is_file() for path in paths)

    def _take(self, part: str, answer: dict[str, Any]) -> None:
        self._given[part] = answer
        if part:
            self._emit(Event(event="artifact", stage=part, artifact=answer))

    async def _give(self, part: str, made: Made) -> None:
        """What the cache has for a part: found there, or just made."""
        answer = {**made.answer, "ticket": self._ticket.id, "cached": made.cached}
        await self._journal.finished(
            self._name(part),
            answer=answer,
            entry=made.entry,
            cached=made.cached,
            seconds=round(made.seconds, 3),
        )
        if not made.cached and made.seconds > 0:
            self._figures.steps.labels(self._operation(part)).observe(made.seconds)
        self._take(part, answer)

    async def _make(self, parts: Sequence[str], done: Done) -> None:
        """Make parts that nobody has: those that an attempt has left whole are taken as they are.

        A gateway that dies may have heard of a result that it had no time to write down.
        """
        left = []
        for part in parts:
            found = await asyncio.to_thread(
                self._tools.folders.found, self._ticket.id, self._operation(part), self._label
            )
            if found is None:
                left.append(part)
            else:
                await done(part, found, 0.0)
        if left:
            await self._ask(left, done)

    async def _ask(self, parts: Sequence[str], done: Done) -> None:
        """Have the predictor make parts, when it is its turn."""
        predictor, _ = await self._find()
        rank = (self._ticket.priority, self._ticket.created_s)
        place = Place(predictor.name, self._ticket.id, self._step.name, rank)
        async with self._tools.queues.turn(place, self._emit):
            await self._journal.save()  # who has lost the ticket stops here
            with self._figures.busy.at_work(predictor.name):
                await self._work(parts, done)

    async def _work(self, parts: Sequence[str], done: Done) -> None:
        request = {
            **self._request,
            "ticket": self._ticket.id,
            "step": self._label,
            "attempt": self._journal.lease.fence,
        }
        if self._step.gives:
            request["tasks"] = list(parts)
        started = last = time.monotonic()
        taking: dict[str, asyncio.Future[None]] = {}

        def hear(event: Event) -> None:
            nonlocal last
            name = str((event.artifact or {}).get("operation", "")).rsplit("/", 1)[-1]
            if event.event == "artifact" and name in parts and name not in taking:
                now = time.monotonic()
                taking[name] = asyncio.ensure_future(done(name, event.artifact or {}, now - last))
                last = now
            elif event.event == "progress":
                self._progress(event, parts, len(taking))

        try:
            answer = await self._tools.predictors.run(self._step.operation, request, hear)
            await asyncio.gather(*taking.values())
        finally:
            for task in taking.values():
                task.cancel()
        self._report = answer.get("report", {})
        made = answer.get("parts", {}) if self._step.gives else {"": answer}
        for part in parts:
            if part not in taking and part in made:
                await done(part, made[part], time.monotonic() - started)

    def _progress(self, event: Event, parts: Sequence[str], ready: int) -> None:
        """Hand on how far the step is; of several results, they are made one after the other."""
        fraction = event.fraction or 0.0
        if self._step.gives and ready < len(parts):
            own = min(max(fraction * len(parts) - ready, 0.0), 1.0)
            self._journal.note(parts[ready], fraction=round(own, 4), stage=event.stage)
        elif not self._step.gives:
            self._journal.note(self._step.name, fraction=round(fraction, 4), stage=event.stage)
        # Parts that were there already are done from the beginning.
        there = len(self._step.gives) - len(parts) if self._step.gives else 0
        whole = (there + fraction * len(parts)) / (there + len(parts))
        self._emit(event.model_copy(update={"fraction": whole}))
