"""One installation under examination: its gateway, its data root, and what was put there."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nephra_cli.check.findings import Failure, Skip
from nephra_cli.client import Client
from nephra_contract.errors import FileMissing, NephraError, PathRefused
from nephra_contract.fences import RESULTS
from nephra_contract.messages import OperationDescription
from nephra_contract.nifti import write_image, write_labels
from nephra_contract.paths import DataRoot
from nephra_contract.volume import LabelMap, Volume


@dataclass
class Installation:
    """What is examined.

    Args:
        client: talks to its gateway.
        data: its data root, as this machine sees it.
        folder: in the data root, for the inputs of this check.
    """

    client: Client
    data: DataRoot
    folder: Path
    offered: dict[str, OperationDescription] = field(default_factory=dict)
    _tickets: list[str] = field(default_factory=list, repr=False)

    def put(self, name: str, volume: Volume) -> str:
        """Write an input; gives its path for a request."""
        self.folder.mkdir(exist_ok=True)
        path = self.folder / name
        if isinstance(volume, LabelMap):
            write_labels(path, volume)
        else:
            write_image(path, volume)
        return self.data.name(path)

    def run(self, operation: str, **request: Any) -> dict[str, Any]:
        """The answer of an operation.

        Raises:
            Skip: it is not offered.
            Failure: the gateway does not see the inputs.
            NephraError: whatever else it said.
        """
        if operation not in self.offered:
            raise Skip(f"{operation} is not offered here.")
        try:
            # As a stream, which ingresses do not cut however long the work takes.
            for event in self.client.stream(operation, **request):
                if event.result is not None:
                    self._tickets.append(str(event.result.get("ticket")))
                    return event.result
        except NephraError as error:
            if error.code == FileMissing.default_code:
                raise Failure(
                    "The gateway does not see what is written here: is this its data root?"
                ) from error
            raise
        raise Failure("No result came.")

    def result(self, answer: dict[str, Any], member: str) -> Path:
        """A file that an answer names.

        Raises:
            Failure: it is not named, or not there.
        """
        path = answer.get(member)
        if not path:
            raise Failure(f"The answer has no {member}.")
        try:
            return self.data.file(path)
        except (FileMissing, PathRefused) as error:
            raise Failure(f"The answer names {path}, which is not in the data root.") from error

    def clear(self) -> str:
        """Remove the inputs and all results of this check.

        Raises:
            Failure: something cannot be removed.
        """
        left = []
        for path in (self.folder, *(self.data.resolve(f"{RESULTS}/{t}") for t in self._tickets)):
            shutil.rmtree(path, ignore_errors=True)
            if path.exists():
                left.append(self.data.name(path))
        if left:
            raise Failure(f"These cannot be removed: {', '.join(left)}.")
        return "All that this check has made is removed."


@contextmanager
def cleared(installation: Installation, clear: Callable[[], Any]) -> Iterator[None]:
    """Clear up at the end of the block, whatever ends it."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(Failure):
            installation.clear()
        raise
    clear()


def fresh_folder(data: DataRoot) -> Path:
    """A folder of the data root that is nobody else's; made when the first input is put there."""
    return data.root / f"check-{uuid.uuid4().hex[:12]}"
