"""Whether the data root is there, asked without ever hanging on it."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from nephra_contract import logs
from nephra_contract.errors import Unavailable
from nephra_contract.fences import RESULTS
from nephra_contract.paths import DataRoot
from nephra_gateway.figures import Figures

#: What was found is believed for so long; probes come every few seconds.
_BELIEVED_S = 2.0

#: A network file system whose server is gone answers nothing at all.
_ANSWERS_WITHIN_S = 3.0


@dataclass
class Storage:
    """The data root's state of health.

    Args:
        data: the data root.
        figures: what is counted.
    """

    data: DataRoot
    figures: Figures
    _looked_s: float = field(default=float("-inf"), repr=False)
    _usable: bool | None = field(default=None, repr=False)
    _looking: asyncio.Future[bool] | None = field(default=None, repr=False)
    #: Its own: the event loop's threads may all be busy with the checksums of large images.
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1), repr=False)

    async def check(self) -> None:
        """See whether it can be used.

        Raises:
            Unavailable: it is not there, cannot be written, or does not answer.
        """
        if time.monotonic() - self._looked_s >= _BELIEVED_S:
            self._know(await self._look())
        if not self._usable:
            raise unusable()

    async def _look(self) -> bool:
        """One look at a time: the threads of looks that hang would pile up."""
        if self._looking is None or self._looking.done():
            loop = asyncio.get_running_loop()
            self._looking = loop.run_in_executor(self._thread, self._try)
        done, _ = await asyncio.wait({self._looking}, timeout=_ANSWERS_WITHIN_S)
        return bool(done) and self._looking.result()

    def _try(self) -> bool:
        """Whether folders for tickets can be made."""
        folder = self.data.root / RESULTS
        try:
            if not self.data.root.is_dir():
                return False
            folder.mkdir(exist_ok=True)
        except OSError:
            return False
        return os.access(folder, os.W_OK | os.X_OK)

    def _know(self, usable: bool) -> None:
        path = str(self.data.root)
        if not usable and self._usable is not False:
            logs.line(
                "data root cannot be used",
                logging.ERROR,
                path=path,
                why="it is not there, not writable, or does not answer",
            )
        elif usable and self._usable is False:
            logs.line("data root usable again", path=path)
        self._usable, self._looked_s = usable, time.monotonic()
        self.figures.data_root.set(usable)


def unusable() -> Unavailable:
    """The error where the data root cannot be used."""
    return Unavailable(
        "The data root of this gateway cannot be used now.",
        "Try again later; the log of the gateway says what was found.",
        code="data_root_unavailable",
    )
