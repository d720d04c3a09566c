"""Small real predictors with the names and shapes of nephra's own."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from nephra_contract.errors import PhaseMissing, StructureMissing, Unprocessable
from nephra_contract.execution import OperationRunner
from nephra_contract.labels import name_of, numbers
from nephra_contract.merge import merge
from nephra_contract.messages import Answer, BundleDescription, OperationDescription
from nephra_contract.operation import Input, NoParameters, Operation, Outcome, Parameters
from nephra_contract.paths import DataRoot
from nephra_contract.progress import Progress
from nephra_contract.results import new_ticket
from nephra_contract.scene import Mesh, Scene
from nephra_contract.volume import LabelMap, Volume

#: What each toy model finds: label → box of voxels.
FOUND: Mapping[str, Mapping[str, tuple[slice, slice, slice]]] = {
    "totalseg": {
        "kidney_right": np.s_[8:11, 2:5, 2:8],
        "kidney_left": np.s_[1:4, 2:5, 2:8],
        "liver": np.s_[7:11, 7:11, 6:11],
        "aorta": np.s_[5:6, 2:4, 0:12],
    },
    "tumor": {
        "kidney_right": np.s_[8:11, 2:5, 2:8],
        "kidney_left": np.s_[1:4, 2:5, 2:8],
        "tumor": np.s_[1:3, 2:4, 2:4],
    },
    "vessel": {"artery": np.s_[5:6, 2:4, 0:12], "vein": np.s_[7:8, 2:4, 0:12]},
    "ureter": {"ureter_left": np.s_[4:5, 4:5, 0:5]},
}

MASK = Input("mask_path", "mask", "Masks.", many=True)
PHASES = tuple(
    Input(f"image_{p}_path", "image", f"Phase {p}.", optional=True) for p in ("A", "P", "D")
)


#: Steps of 10 ms.
_HELD_AT_MOST = 6000


class Gates:
    """Lets a test hold a toy's step until it says go, and see what became of it."""

    def __init__(self) -> None:
        self.held: set[str] = set()
        self.failing: set[str] = set()
        self.lacking: set[str] = set()
        self.reached: dict[str, threading.Event] = {}
        self.ended: dict[str, threading.Event] = {}
        self.go = threading.Event()

    def clear(self) -> None:
        """Nothing is held, nothing fails."""
        self.go.set()
        self.__init__()  # type: ignore[misc]

    def hold(self, *names: str) -> None:
        """Hold these steps until `go`."""
        for name in names:
            self.held.add(name)
            self.reached[name] = threading.Event()
            self.ended[name] = threading.Event()

    def pass_by(self, name: str, progress: Progress) -> None:
        """Called by a step: wait if held, raise if failing."""
        progress.advance(0.1, f"{name} at work")
        if name in self.failing:
            raise Unprocessable(f"The toy '{name}' fails.", "Let it not fail.")
        if name in self.lacking:
            raise StructureMissing(f"The toy '{name}' lacks a structure.", "Look again.")
        if name not in self.held:
            return
        go, ended = self.go, self.ended[name]
        self.reached[name].set()
        try:
            # Bounded, so that a test that lost its way fails instead of waiting for ever.
            for _ in range(_HELD_AT_MOST):
                if go.wait(0.01):
                    return
                progress.advance(0.2, f"{name} is held")
            raise Unprocessable(f"The toy '{name}' was held too long.", "Let it go.")
        except BaseException:
            ended.set()
            raise


GATES = Gates()


class Tasks(Parameters):
    """Several models on the phases of one patient."""

    tasks: list[str] = Field(min_length=1)
    bundles: dict[str, str] = Field(default_factory=dict)


class Shown(Parameters):
    """Surfaces of structures."""

    structures: list[str] | None = None


class Take(Parameters):
    """Several masks into one."""

    take: list[list[str]] | None = None


def _segment(task: str) -> Any:
    def segment(image: Volume, parameters: NoParameters, progress: Progress) -> LabelMap:
        GATES.pass_by(task, progress)
        voxels = np.zeros(image.shape, dtype=np.uint8)
        for name, box in FOUND[task].items():
            voxels[box] = numbers()[name]
        return LabelMap(voxels, image.affine)

    return segment


def _never(*_: Any) -> LabelMap:
    raise AssertionError("the runner does this one itself")


MODELS = tuple(
    Operation(f"inference/{t}", (Input("image_path", "image", "A CT."),), NoParameters, _segment(t))
    for t in FOUND
)
SEVERAL = Operation("inference", PHASES, Tasks, _never)


class Nnunet:
    """Several toy models in one request, each mask an artifact."""

    def __init__(self, data: DataRoot, models: Sequence[Operation] = MODELS) -> None:
        self._data = data
        self._runner = OperationRunner.of("nnunet", (*models, SEVERAL), data, 10**6)
        self.requests: list[Mapping[str, Any]] = []

    def describe(self) -> list[OperationDescription]:
        """The toy operations."""
        return self._runner.describe()

    def bundles(self) -> list[BundleDescription]:
        """One."""
        return [
            BundleDescription(
                name="toy",
                task="tumor",
                default=True,
                version="1",
                digest="0" * 64,
                channels=[["A", "P", "D"]],
                labels={"kidney": 200, "tumor": 201},
                spacing_mm=[1, 1, 1],
                licence="Apache-2.0",
            )
        ]

    def run(self, model: str, request: Mapping[str, Any], progress: Progress) -> Answer:
        """One model, or several one after the other."""
        self.requests.append(request)
        if model != "inference":
            return self._runner.run(model, request, progress)
        SEVERAL.parse(request)
        ticket = request.get("ticket") or new_ticket()
        parts: dict[str, Answer] = {}
        share = 1 / len(request["tasks"])
        for count, task in enumerate(request["tasks"]):
            phases = {"vessel": "A", "ureter": "D"}.get(task, "APD")
            image = next((i for p in phases if (i := request.get(f"image_{p}_path"))), None)
            if image is None:
                raise PhaseMissing(f"The toy '{task}' lacks a phase.", "Give it one.")
            part = progress.part(count * share, (count + 1) * share)
            asked = {
                "image_path": image,
                "ticket": ticket,
                "step": request.get("step"),
                "attempt": request.get("attempt", 0),
            }
            answer = self._runner.run(task, asked, part)
            progress.artifact(task, answer.model_dump(mode="json", exclude_none=True))
            parts[task] = answer
        return Answer(
            ticket=ticket, operation="inference", manifest_path=answer.manifest_path, parts=parts
        )


def _same(name: str) -> Any:
    def same(labels: LabelMap, parameters: NoParameters, progress: Progress) -> Outcome:
        GATES.pass_by(name, progress)
        return Outcome(labels.like(labels.voxels.copy()), {"bridges": []})

    return same


def _fat(
    labels: LabelMap, image: Volume | None, parameters: NoParameters, progress: Progress
) -> LabelMap:
    GATES.pass_by("fat", progress)
    voxels = labels.voxels.copy()
    voxels[0, 0, 0] = numbers()["perirenal_fat"]
    return labels.like(voxels)


def _merge(maps: Sequence[LabelMap], parameters: Take, progress: Progress) -> LabelMap:
    GATES.pass_by("merge", progress)
    take = parameters.take or [[]]
    kept = []
    for labels, names in zip(maps, take, strict=True):
        keep = [n for n in labels.present if name_of(n) in names]
        kept.append(labels.like(np.where(np.isin(labels.voxels, keep), labels.voxels, 0)))
    return merge(kept)


def _surface(labels: LabelMap, parameters: Shown, progress: Progress) -> Scene:
    GATES.pass_by("base", progress)
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float64)
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    return Scene(tuple(Mesh(n, corners, faces) for n in labels.present))


def postprocess(data: DataRoot) -> OperationRunner:
    """The toy steps from masks to masks."""
    image = Input("image_path", "image", "The CT.", optional=True)
    apart = Input("mask_path", "mask", "Masks.", many=True, separate=True)
    operations = (
        *(
            Operation(f"postprocess/{n}", (MASK,), NoParameters, _same(gate))
            for n, gate in (("sample", "sample"), ("vessel", "vessel-step"), ("ureter", "joining"))
        ),
        Operation("postprocess/fat", (MASK, image), NoParameters, _fat),
        Operation("postprocess/merge", (apart,), Take, _merge),
    )
    return OperationRunner.of("postprocess", operations, data, 10**6)


def smoothing(data: DataRoot) -> OperationRunner:
    """The toy step from masks to surfaces."""
    base = Operation(
        "smoothing/base",
        (MASK,),
        Shown,
        _surface,
        output="scene",
        example={"mask_path": "cases/17/mask.nii.gz"},
    )
    return OperationRunner.of("smoothing", (base,), data, 10**6)
