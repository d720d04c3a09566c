"""What was checked, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from nephra_contract.errors import NephraError

Verdict = Literal["passed", "failed", "skipped"]


class Failure(Exception):
    """Something is not as it must be; the sentence says what."""


class Skip(Exception):
    """Something cannot be checked here; the sentence says why."""


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    Args:
        name: of the check.
        verdict: what came of it.
        said: a sentence.
        seconds: that it took.
    """

    name: str
    verdict: Verdict
    said: str
    seconds: float


@dataclass
class Findings:
    """All checks of a run, in their order."""

    all: list[Finding] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether nothing failed, and something passed."""
        verdicts = {f.verdict for f in self.all}
        return "passed" in verdicts and "failed" not in verdicts

    def run(self, name: str, check: Callable[[], str]) -> Finding:
        """Do one check; whatever becomes of it is a finding."""
        started = time.monotonic()
        verdict, said = _judge(check)
        found = Finding(name, verdict, said, round(time.monotonic() - started, 2))
        self.all.append(found)
        return found

    def described(self) -> list[Mapping[str, Any]]:
        """As JSON shows them."""
        return [asdict(f) for f in self.all]


def _judge(check: Callable[[], str]) -> tuple[Verdict, str]:
    try:
        return "passed", check()
    except Skip as reason:
        return "skipped", str(reason)
    except Failure as reason:
        return "failed", str(reason)
    except NephraError as error:
        return "failed", f"{error.detail} {error.action}".strip()
    except OSError as error:
        return "failed", f"A file cannot be read or written: {error.strerror or error}."
