"""How a gateway comes to its end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Ending:
    """The two moments of a gateway's end.

    Args:
        begun: it is told to end: nothing new is begun.
        over: the time that what runs had to end has passed.
    """

    begun: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)
