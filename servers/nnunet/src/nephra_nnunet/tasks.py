"""The four tasks: which phases each can be done from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nephra_contract.errors import PhaseMissing
from nephra_contract.operation import Input
from nephra_nnunet.bundle import Bundle
from nephra_nnunet.manifest import Phase, TaskName
from nephra_nnunet.phases import PHASE_NAMES

#: Any one of the phases, in order of preference.
_ANY: tuple[Phase, ...] = ("A", "P", "D")

PHASE_INPUTS: Mapping[Phase, Input] = {
    phase: Input(
        name=f"image_{phase}_path",
        kind="image",
        description=f"CT of the {PHASE_NAMES[phase]} phase.",
        phase=phase,
    )
    for phase in _ANY
}
ANY_INPUT = Input(name="image_path", kind="image", description="CT of any contrast phase.")


@dataclass(frozen=True)
class Job:
    """One task of a request, everything decided.

    Args:
        task: its name.
        bundle: the model.
        phases: per channel of the bundle the phase that it gets; None is the one image of a
            request that does not name its phase.
    """

    task: TaskName
    bundle: Bundle
    phases: tuple[Phase | None, ...]

    @property
    def operation(self) -> str:
        """The operation whose answer it gives."""
        return f"inference/{self.task}"


def choose_phases(bundle: Bundle, given: Sequence[Phase | None]) -> tuple[Phase | None, ...]:
    """Which image goes into which channel: per channel the first phase of its list that is there.

    Args:
        bundle: the model.
        given: the phases that the request brings; `[None]` for one image of unnamed phase.

    Raises:
        PhaseMissing: a channel gets none; the error says which phase it needs.
    """
    if list(given) == [None]:
        return (None,) * len(bundle.manifest.phases)
    chosen: list[Phase | None] = []
    for channel in bundle.manifest.phases:
        fitting = [p for p in channel if p in given]
        if not fitting:
            needed = " or ".join(f"{PHASE_NAMES[p]} ({p})" for p in channel)
            raise PhaseMissing(
                f"'{bundle.manifest.task}' needs an image of the {needed} phase.",
                f"Send {' or '.join(PHASE_INPUTS[p].name for p in channel)}.",
                task=bundle.manifest.task,
                needs=list(channel),
            )
        chosen.append(fitting[0])
    return tuple(chosen)
