"""The folders of tickets, and who may write in them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nephra_contract import logs
from nephra_contract.errors import NephraError, full_disk
from nephra_contract.fences import RESULTS, Fence, close_ticket, open_ticket, while_open
from nephra_contract.messages import Answer
from nephra_contract.paths import DataRoot
from nephra_contract.results import folder_of, write_json
from nephra_gateway.placing import place_all
from nephra_gateway.storage import unusable


@dataclass(frozen=True)
class Folders:
    """Opens and closes what attempts at tickets write in.

    Args:
        data: the data root.
    """

    data: DataRoot

    async def open(self, ticket: str, attempt: int) -> None:
        """Let an attempt write; those before it cannot any more.

        Raises:
            Unavailable, NoSpace: the data root cannot be written.
        """
        await self._change(lambda: open_ticket(self.data, ticket, attempt), ticket)

    async def close(self, ticket: str) -> None:
        """Let nobody write any more; results that are whole stay, half ones go."""
        try:
            await self._change(lambda: self._close(ticket), ticket)
        except NephraError:
            pass  # said in the log

    def found(self, ticket: str, operation: str, step: str) -> dict[str, Any] | None:
        """What an earlier attempt at a step has made and could not tell of any more."""
        name = folder_of(operation.replace("/", "-"), step)
        path = f"{RESULTS}/{ticket}/{name}/manifest.json"
        try:
            said = json.loads(self.data.resolve(path).read_text(encoding="utf-8"))
            paths = {member: made["path"] for member, made in said["outputs"].items()}
            return Answer(
                ticket=ticket,
                operation=said["operation"],
                manifest_path=path,
                report=said["report"],
                volumes_ml=said["volumes_ml"],
                warnings=said["warnings"],
                **paths,
            ).model_dump(mode="json", exclude_none=True)
        except (OSError, ValueError, KeyError, TypeError):
            return None  # there is none, or it is not one of ours

    def _close(self, ticket: str) -> None:
        close_ticket(self.data, ticket)
        try:
            self.data.resolve(f"{RESULTS}/{ticket}").rmdir()
        except OSError:
            pass  # it has results, or was never made

    async def place(
        self, answer: Mapping[str, Any], output_path: str, inputs: Iterable[str]
    ) -> dict[str, str]:
        """Copies of a found result's files where a request wants them; gives where they are.

        Args:
            answer: with the paths of the files.
            output_path: as requested.
            inputs: of the request; they are not written over.

        Raises:
            NephraError: they cannot be put there.
        """
        try:
            return await asyncio.to_thread(place_all, self.data, answer, output_path, inputs)
        except OSError as error:
            raise _said(error, path=output_path) from error

    async def write_manifest(self, ticket: str, attempt: int, content: Mapping[str, Any]) -> str:
        """Write a ticket's own manifest, if the attempt may still write; gives its path.

        Raises:
            Cancelled: another attempt has begun.
            Unavailable, NoSpace: the data root cannot be written.
        """
        path = f"{RESULTS}/{ticket}/manifest.json"
        await self._change(lambda: self._write(path, ticket, Fence("", attempt), content), ticket)
        return path

    def _write(self, path: str, ticket: str, fence: Fence, content: Mapping[str, Any]) -> None:
        final = self.data.resolve(path)
        made = fence.workshop(final.parent) / final.name
        with while_open(self.data, ticket, fence):
            write_json(made, content)
            made.replace(final)

    async def _change(self, change: Callable[[], None], ticket: str) -> None:
        try:
            await asyncio.to_thread(change)
        except OSError as error:
            raise _said(error, ticket=ticket) from error


def _said(error: OSError, **members: str) -> NephraError:
    """What the system says of the data root as one of our errors."""
    full = full_disk(error)
    if full is not None:
        return full
    logs.defect("data root cannot be written", error, **members)
    return unusable()
