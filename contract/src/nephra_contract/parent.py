"""A service that was launched by another process can end with it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def signal_at_parents_end(number: signal.Signals) -> None:
    """Let the kernel send this process a signal when the one that launched it ends; Linux only.

    Nothing is sent if it has ended already.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def end_with_parent() -> None:
    """Let the kernel send this process SIGTERM when the one that launched it ends; Linux only."""
    if sys.platform != "linux":
        return
    signal_at_parents_end(signal.SIGTERM)
    if os.getppid() == 1:  # it has ended already
        os.kill(os.getpid(), signal.SIGTERM)
