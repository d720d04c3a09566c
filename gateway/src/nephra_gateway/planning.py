"""Which steps a case needs, as data: nothing here does any of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from nephra_contract import labels as names
from nephra_contract.errors import OperationUnknown, PhaseMissing, RequestInvalid
from nephra_gateway.messages import CaseRequest, Phase
from nephra_gateway.structures import REPLACED, Source, everything, numbers_of, source_of

#: In this order the models run: totalseg first, for the quick preview stands on its kidneys.
TASKS: tuple[Source, ...] = ("totalseg", "tumor", "vessel", "ureter")

#: The phases that a model stands on; those without an entry take any one, in this order.
NEEDED_PHASES: Mapping[Source, tuple[Phase, ...]] = {"vessel": ("A", "P"), "ureter": ("D",)}
PREFERENCE: tuple[Phase, ...] = ("A", "P", "D")

#: How long steps take, roughly, as shares of the whole.
_WEIGHTS: Mapping[str, float] = {"totalseg": 20, "tumor": 20, "vessel": 20, "ureter": 20}
#: What the quick preview shows: the large sheets around it cost most and help least.
_SHOWN_FIRST = {"structures": ["kidney", "artery", "vein", "urinary", "organ", "bone"]}
_JOINED = "-joined"


@dataclass(frozen=True)
class Step:
    """One request to one predictor.

    Args:
        name: unique in its plan.
        operation: who does it.
        masks: results of other steps that become `mask_path`, in this order.
        members: the rest of the request.
        gives: the results that it makes; inference makes several.
        needed: whether the case fails with it; else it is a warning, and steps that are not
            needed either and stand on it are left out with it.
        if_missing: what to do where a mask lacks the structure that it stands on: `fail`, go on
            `without` its result, or with the `unchanged` mask that it was given.
        shown: its result is for who waits alone; nobody misses it, and it gives no warnings.
        weight: its share of the progress.
    """

    name: str
    operation: str
    masks: tuple[str, ...] = ()
    members: Mapping[str, Any] = field(default_factory=dict)
    gives: tuple[str, ...] = ()
    needed: bool = True
    if_missing: Literal["fail", "without", "unchanged"] = "fail"
    shown: bool = False
    weight: float = 5

    @property
    def results(self) -> tuple[str, ...]:
        """What other steps may stand on."""
        return self.gives or (self.name,)


@dataclass(frozen=True)
class Plan:
    """The steps of a case; each starts as soon as what it stands on is there.

    Args:
        steps: in an order in which they could run one by one.
        reference: the phase on whose grid the masks are merged.
        wanted: the labels that were asked for by name; empty where nothing was.
    """

    steps: tuple[Step, ...]
    reference: Phase
    wanted: frozenset[int] = frozenset()

    def step(self, name: str) -> Step:
        """The step of that name."""
        return next(s for s in self.steps if s.name == name)

    def label(self, step: Step) -> str:
        """What tells a step from others of its operation; empty where there are none."""
        same = [s for s in self.steps if s.operation == step.operation]
        return step.name if len(same) > 1 else ""

    @property
    def operations(self) -> tuple[str, ...]:
        """The operations that it needs, each once."""
        return tuple(dict.fromkeys(s.operation for s in self.steps))

    @property
    def phases(self) -> tuple[str, ...]:
        """The phases whose images are read."""
        members = self.step("inference").members
        return tuple(p for p in PREFERENCE if f"image_{p}_path" in members)


def plan(request: CaseRequest, offered: Collection[str]) -> Plan:
    """Decide what a case needs.

    Args:
        request: as it came.
        offered: names of the operations that predictors offer.

    Raises:
        RequestInvalid: unknown structures, or parameters for steps that are not run.
        PhaseMissing: a wanted structure needs a phase that was not given.
        OperationUnknown: a wanted structure needs a model that nobody offers.
    """
    everything_wanted = request.structures is None
    wanted = everything() if request.structures is None else numbers_of(request.structures)
    tasks = _tasks(request, wanted, offered)
    fat = _wants_fat(wanted, tasks, offered, everything_wanted)
    reference = next(p for p in PREFERENCE if p in request.phases)
    steps = [_inference(request, tasks, reference)]
    if "totalseg" in tasks and request.preview:
        steps += _preview(offered)
    steps += [s for s in (_rejoin(t, tasks, offered) for t in ("vessel", "ureter")) if s]
    if fat:
        steps.append(_fat(request, reference, tasks))
    dropped = REPLACED if everything_wanted and "vessel" in tasks else frozenset()
    joined = {s.masks[0]: s.name for s in steps if s.name.endswith(_JOINED)}
    taken = _taken(wanted - dropped, tasks, fat)
    if request.preview:
        steps += _surfaces(taken, joined)
    steps += _scene(taken, joined)
    made = Plan(
        tuple(_with_parameters(s, request.parameters) for s in steps),
        reference,
        frozenset() if everything_wanted else wanted,
    )
    _check_parameters(made, request.parameters)
    return made


def _tasks(
    request: CaseRequest, wanted: frozenset[int], offered: Collection[str]
) -> tuple[Source, ...]:
    """The models to run, in their order."""
    if request.structures is None:
        found = [t for t in TASKS if f"inference/{t}" in offered and not _missing(t, request)]
        if not found:
            raise OperationUnknown(
                "No model is loaded that these phases could be given to.",
                "GET /operations lists what is offered.",
            )
        return tuple(found)
    sources = {source_of(n) for n in wanted}
    if "fat" in sources:
        sources |= {"totalseg", "tumor"}
    for task in TASKS:
        if task in sources:
            _check_task(task, request, wanted, offered)
    return tuple(t for t in TASKS if t in sources)


def _missing(task: Source, request: CaseRequest) -> list[Phase]:
    return [p for p in NEEDED_PHASES.get(task, ()) if p not in request.phases]


def _check_task(
    task: Source, request: CaseRequest, wanted: frozenset[int], offered: Collection[str]
) -> None:
    asked = ", ".join(names.name_of(n) for n in sorted(wanted) if source_of(n) == task) or "fat"
    missing = _missing(task, request)
    if missing:
        raise PhaseMissing(
            f"For {asked} the phase {' and '.join(missing)} is needed; it was not given.",
            f"Add it to 'phases', or leave {asked} out of 'structures'.",
            phases=missing,
            needed_by=task,
        )
    if f"inference/{task}" not in offered:
        raise OperationUnknown(
            f"For {asked} the model '{task}' is needed; it is not loaded.",
            "Add its bundle, or leave these structures out.",
        )


def _wants_fat(
    wanted: frozenset[int], tasks: tuple[Source, ...], offered: Collection[str], all_wanted: bool
) -> bool:
    if names.PERIRENAL_FAT not in wanted:
        return False
    if not all_wanted:
        return True
    return "postprocess/fat" in offered and bool({"totalseg", "tumor"} & set(tasks))


def _inference(request: CaseRequest, tasks: tuple[Source, ...], reference: Phase) -> Step:
    """All models in one request, so that each image is read once."""
    read = {p for t in tasks for p in NEEDED_PHASES.get(t, (reference,))}
    members: dict[str, Any] = {"tasks": list(tasks)}
    members |= {f"image_{p}_path": request.phases[p] for p in PREFERENCE if p in read}
    strangers = set(request.bundles) - set(tasks)
    if strangers:
        raise RequestInvalid(
            f"'bundles' names tasks that are not run: {', '.join(sorted(strangers))}.",
            f"This case runs {', '.join(tasks)}.",
            strangers=sorted(strangers),
        )
    if request.strict_phases:
        members["strict_phases"] = True
    if request.bundles:
        members["bundles"] = dict(request.bundles)
    weight = sum(_WEIGHTS[t] for t in tasks)
    return Step("inference", "inference", (), members, tuple(tasks), weight=weight)


def _preview(offered: Collection[str]) -> list[Step]:
    if "postprocess/sample" not in offered:
        return []
    return [
        Step("sample", "postprocess/sample", ("totalseg",), needed=False),
        Step("preview", "smoothing/base", ("sample",), _SHOWN_FIRST, needed=False),
    ]


def _surfaces(taken: list[tuple[str, list[str]]], joined: Mapping[str, str]) -> list[Step]:
    """What each model has found as surfaces, while the next ones run; organs are in the preview."""
    if len(taken) == 1:
        return []  # the scene comes as soon
    return [
        Step(
            f"{source}-surfaces",
            "smoothing/base",
            (joined.get(source, source),),
            {"structures": found},
            needed=False,
            shown=True,
            weight=1,
        )
        for source, found in taken
        if source in ("tumor", "vessel", "ureter")
    ]


def _rejoin(task: Source, tasks: tuple[Source, ...], offered: Collection[str]) -> Step | None:
    """The step that joins what a model left severed."""
    operation = f"postprocess/{task}"
    if task not in tasks or operation not in offered:
        return None
    return Step(f"{task}{_JOINED}", operation, (task,), if_missing="unchanged")


def _fat(request: CaseRequest, reference: Phase, tasks: tuple[Source, ...]) -> Step:
    """Fat around the kidneys; who did not ask for it gets a scene even without kidneys."""
    masks = tuple(t for t in ("totalseg", "tumor") if t in tasks)
    return Step(
        "fat",
        "postprocess/fat",
        masks,
        {"image_path": request.phases[reference]},
        if_missing="without" if request.structures is None else "fail",
    )


def _taken(
    wanted: frozenset[int], tasks: tuple[Source, ...], fat: bool
) -> list[tuple[str, list[str]]]:
    """(result, names taken from it), the mask that decides the grid first."""
    by_source: dict[Source, set[int]] = {}
    for number in wanted:
        source = source_of(number)
        if source == "tumor" and source not in tasks:
            source = "totalseg"  # its kidneys and cysts are better than none
        by_source.setdefault(source, set()).add(number)
    sources = [t for t in TASKS if t in tasks] + (["fat"] if fat else [])
    return [
        (source, [names.name_of(n) for n in sorted(by_source[source])])
        for source in sources
        if source in by_source
    ]


def _scene(taken: list[tuple[str, list[str]]], joined: Mapping[str, str]) -> list[Step]:
    masks = tuple(joined.get(name, name) for name, _ in taken)
    merge = Step("merge", "postprocess/merge", masks, {"take": [t for _, t in taken]})
    return [merge, Step("scene", "smoothing/base", ("merge",), weight=10)]


def _with_parameters(step: Step, parameters: Mapping[str, Mapping[str, Any]]) -> Step:
    added = parameters.get(step.operation)
    return replace(step, members={**added, **step.members}) if added else step


def _check_parameters(made: Plan, parameters: Mapping[str, Any]) -> None:
    strangers = sorted(set(parameters) - set(made.operations))
    if strangers:
        raise RequestInvalid(
            f"'parameters' names operations that this case does not run: {', '.join(strangers)}.",
            f"It runs {', '.join(made.operations)}.",
            strangers=strangers,
        )
