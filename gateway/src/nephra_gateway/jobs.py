"""What there is to do for a ticket: one operation, or a whole case."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import Any

from nephra_contract.messages import OperationDescription
from nephra_gateway.cases import Cases
from nephra_gateway.content import Contents
from nephra_gateway.journal import Journal
from nephra_gateway.keys import files_of
from nephra_gateway.messages import CaseRequest
from nephra_gateway.planning import Step
from nephra_gateway.stages import Stages, Tools
from nephra_gateway.store.tickets import Asked
from nephra_gateway.worker import Finished

CASES = "cases"


class Jobs:
    """Does the work of tickets, or finds it done.

    Args:
        tools: what the work needs.
        cases: the whole way.
        contents: of files.
    """

    def __init__(self, tools: Tools, cases: Cases, contents: Contents) -> None:
        self._tools = tools
        self._cases = cases
        self._contents = contents
        self._foreseen: set[asyncio.Task[Any]] = set()

    async def __call__(self, journal: Journal) -> Finished:
        """Do the work of a ticket.

        Raises:
            NephraError: it cannot be done.
            LeaseLost: another one works on it.
        """
        if journal.ticket.operation == CASES:
            return await self._case(journal)
        return await self._operation(journal)

    async def done(self, asked: Asked) -> tuple[dict[str, Any], str] | None:
        """The answer to a request, and the entry that it is, if it is in the cache.

        Nothing is read for it but what verifies the entry: where more is needed, the answer is
        None, and the ticket's work will find it.
        """
        await self._tools.predictors.refresh()
        key = self._known_key(asked)
        made = None if key is None else await self._tools.cache.peek(key)
        if made is None or made.entry is None:
            return None
        return {**made.answer, "ticket": asked.id, "cached": True}, made.entry

    def foresee(self, files: Mapping[str, Iterable[str]]) -> None:
        """Read what will be asked by its content, while the ticket waits."""
        for paths in files.values():
            for path in paths:
                task = asyncio.create_task(self._contents.of(path))
                self._foreseen.add(task)
                task.add_done_callback(self._foreseen.discard)

    def _known_key(self, asked: Asked) -> str | None:
        if asked.operation == CASES:
            return self._cases.known_key(CaseRequest.model_validate(asked.request))
        description = self._tools.predictors.described(asked.operation)
        if description is None or "output_path" in asked.request or _gives(asked.request):
            return None
        bundles = self._tools.predictors.loaded()
        keyed = self._tools.keys.known(description, asked.request, bundles)
        return None if keyed is None else keyed.keys[""]

    async def _operation(self, journal: Journal) -> Finished:
        find, operation = self._tools.predictors.find, journal.ticket.operation
        _, description = await self._tools.predictors.patiently(lambda: find(operation), journal)
        step, stages = _step(description, journal.ticket.request), Stages(self._tools, journal)
        stages.expect([step])
        answer = await stages.run(step, "", step.members, journal)
        if step.gives:
            parts = {part: made["manifest_path"] for part, made in answer["parts"].items()}
            content = {"operation": operation, "ticket": journal.ticket.id, "parts": parts}
            answer["manifest_path"] = await stages.write_manifest(content)
        request = journal.ticket.request
        output_path, inputs = request.get("output_path"), files_of(request) or {}
        if answer["cached"] and isinstance(output_path, str):
            named = [path for paths in inputs.values() for path in paths]
            answer |= await self._tools.folders.place(answer, output_path, named)
        return Finished(answer, answer["cached"], journal.entries)

    async def _case(self, journal: Journal) -> Finished:
        asked = CaseRequest.model_validate(journal.ticket.request)
        made, warnings = await self._tools.predictors.patiently(
            lambda: self._cases.prepare(asked), journal
        )
        stages, started = Stages(self._tools, journal), time.monotonic()
        stages.expect(made.steps)
        answer = await self._cases.run(asked, made, warnings, stages)
        said = answer.model_dump(mode="json", exclude_none=True)
        entries = await self._remember(journal, asked, said, time.monotonic() - started)
        return Finished(said, answer.cached, entries)

    async def _remember(
        self, journal: Journal, asked: CaseRequest, answer: dict[str, Any], seconds: float
    ) -> list[str]:
        """Let the whole case be found again; gives all entries that its ticket names."""
        key, parts = await self._cases.key(asked), journal.entries
        steps = [s for s in journal.steps.values() if s.get("state") == "finished"]
        if key is None or not all(s.get("entry") for s in steps):
            return parts
        whole = await self._tools.cache.remember(
            key, CASES, journal.ticket.id, answer, [answer["manifest_path"]], parts, seconds
        )
        return parts if whole is None else [whole, *parts]


def _step(description: OperationDescription, request: Mapping[str, Any]) -> Step:
    """A plain operation as a plan's only step."""
    return Step(description.model, description.name, (), request, _gives(request))


def _gives(request: Mapping[str, Any]) -> tuple[str, ...]:
    """The results of a request for several models; empty for all others."""
    tasks = request.get("tasks")
    if not isinstance(tasks, list) or not all(isinstance(t, str) and t for t in tasks):
        return ()
    return tuple(tasks) if len(set(tasks)) == len(tasks) else ()
