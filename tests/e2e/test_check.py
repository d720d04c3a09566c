"""`nephra check` passes on what works, and fails on what does not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from e2e.service import NEPHRA, Service, tree
from nephra_cli.check.findings import Failure, Skip
from nephra_cli.check.installation import Installation, fresh_folder
from nephra_cli.check.specimen import Specimen
from nephra_cli.check.steps import Steps
from nephra_cli.client import Client
from nephra_contract import labels as names
from nephra_contract.messages import Event
from nephra_contract.nifti import read_labels, write_labels
from nephra_contract.paths import DataRoot
from nephra_contract.results import new_ticket
from nephra_contract.volume import LabelMap

pytestmark = pytest.mark.e2e

Edit = Callable[[Path], None]
CHECKS = [
    "readiness",
    "operations",
    "labels",
    "inference/totalseg",
    "postprocess/ureter",
    "postprocess/fat",
    "smoothing/base",
    "tidiness",
]


def _check(service: Service, data: Path, *more: str, **environment: str) -> Any:
    """Run the command as a pod does: nothing of the user's own, no home to write into."""
    clean = {n: v for n, v in os.environ.items() if not n.startswith(("NEPHRA_", "XDG_"))}
    return subprocess.run(
        [*NEPHRA, "check", "--url", service.url, "--data", str(data), *more],
        env={**clean, "HOME": "/nonexistent", "NEPHRA_TOKEN": service.token, **environment},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def _until(condition: Callable[[], bool]) -> None:
    """Wait for what other processes do."""
    pause, end = threading.Event(), time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        pause.wait(0.02)


def test_a_whole_installation_passes_and_is_left_as_it_was(service: Service) -> None:
    """Every check, with a sentence each; nothing that it made is left in the data root."""
    before = tree(service.data)
    done = _check(service, service.data, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["good"]
    assert {c["name"]: c["verdict"] for c in said["checks"]} == dict.fromkeys(CHECKS, "passed")
    assert all(c["said"].endswith(".") for c in said["checks"])
    assert tree(service.data) == before


def test_a_check_that_is_told_to_end_clears_up(service: Service) -> None:
    """In the midst of its first request: neither inputs nor results stay."""
    before = tree(service.data)
    process = subprocess.Popen(
        [*NEPHRA, "check", "--url", service.url, "--data", str(service.data)],
        env={**os.environ, "NEPHRA_TOKEN": service.token},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _until(lambda: any((service.data / "results").glob("*/.work-*")))
    assert any(service.data.glob("check-*"))
    process.terminate()
    assert process.wait(60) == 130
    assert not any(service.data.glob("check-*"))
    _until(lambda: tree(service.data) == before)


def test_another_data_root_is_told(service: Service, tmp_path: Path) -> None:
    """What the gateway does not see cannot be checked; the folder is left as it was."""
    done = _check(service, tmp_path)
    assert done.returncode == 1
    assert done.stdout.count("FAILED") == 4
    assert "is this its data root?" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_token_is_told(service: Service, tmp_path: Path) -> None:
    """Nothing else can then be checked, which is not taken for success."""
    done = _check(service, tmp_path, "--json", NEPHRA_TOKEN="wrong")
    if not service.token:
        pytest.skip("an installation without tokens")
    assert done.returncode == 1
    checks = {c["name"]: c for c in json.loads(done.stdout)["checks"]}
    assert checks["readiness"]["verdict"] == "passed"
    assert "token" in checks["operations"]["said"]
    assert {checks[n]["verdict"] for n in CHECKS[3:7]} == {"skipped"}


def test_nobody_there_is_told(service: Service, tmp_path: Path) -> None:
    """An address at which nothing listens."""
    nobody = Service("http://127.0.0.1:9", "", tmp_path)
    done = _check(nobody, tmp_path)
    assert done.returncode == 1
    assert "No gateway answers" in done.stdout
    assert "Traceback" not in done.stderr


class Saboteur(Client):
    """A gateway whose results are spoilt on the way."""

    def __init__(self, service: Service) -> None:
        super().__init__(service.url, service.token or None)
        self._data = service.data
        self._done: dict[str, dict[str, Any]] = {}
        self.edit: Edit = lambda _: None

    def stream(self, operation: str, **request: Any) -> Iterator[Event]:
        """A real result, as a fresh copy each time, spoilt."""
        if operation not in self._done:
            done = list(super().stream(operation, **request))[-1].result
            assert done is not None
            self._done[operation] = done
        made = self._done[operation]
        ticket = new_ticket()
        results = self._data / "results"
        shutil.copytree(results / made["ticket"], results / ticket)
        text = json.dumps(made).replace(made["ticket"], ticket)
        self.edit(results / ticket)
        yield Event(event="result", result=json.loads(text))

    def clear(self) -> None:
        """Remove the real results."""
        for made in self._done.values():
            shutil.rmtree(self._data / "results" / made["ticket"])


@pytest.fixture(scope="module")
def saboteur(service: Service) -> Iterator[Saboteur]:
    """One for all tests."""
    with Saboteur(service) as client:
        yield client
        client.clear()


@pytest.fixture(scope="module")
def specimen() -> Specimen:
    """What is sent."""
    return Specimen()


@pytest.fixture
def steps(service: Service, saboteur: Saboteur, specimen: Specimen) -> Iterator[Steps]:
    """The checks of a sabotaged installation."""
    root = DataRoot(service.data)
    there = Installation(saboteur, root, fresh_folder(root))
    found = Steps(there, specimen)
    found.operations()
    yield found
    there.clear()


def _mask(change: Callable[[LabelMap], LabelMap]) -> Edit:
    """Change the mask of a result."""

    def edit(home: Path) -> None:
        (path,) = home.glob("*/mask.nii.gz")
        write_labels(path, change(read_labels(path)))

    return edit


def _shifted(mask: LabelMap) -> LabelMap:
    affine = mask.affine.copy()
    affine[0, 3] += 1.0
    return LabelMap(mask.voxels, affine)


def _mirrored(mask: LabelMap) -> LabelMap:
    """As if an axis had been read the wrong way round."""
    return mask.like(np.ascontiguousarray(mask.voxels[::-1]))


def _with(number: int) -> Callable[[LabelMap], LabelMap]:
    def change(mask: LabelMap) -> LabelMap:
        voxels = mask.voxels.astype(np.uint8)
        voxels[2, 2, 2] = number
        return mask.like(voxels)

    return change


def _without(number: int) -> Callable[[LabelMap], LabelMap]:
    return lambda mask: mask.like(np.where(mask.voxels == number, 0, mask.voxels))


def _far_bridge(mask: LabelMap) -> LabelMap:
    """A second way from one end to the other, along the edge of the grid."""
    voxels = mask.voxels.copy()
    where = np.argwhere(voxels == names.URETER_LEFT)
    i, j, k = where[where[:, 2].argmax()]
    voxels[: i + 1, j, k] = names.URETER_LEFT
    return mask.like(voxels)


def _obj(change: Callable[[list[str]], list[str]]) -> Edit:
    def edit(home: Path) -> None:
        (path,) = home.glob("*/scene.obj")
        path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")

    return edit


def _pierced(lines: list[str]) -> list[str]:
    """One triangle less."""
    first = next(n for n, line in enumerate(lines) if line.startswith("f "))
    return lines[:first] + lines[first + 1 :]


def _swollen(lines: list[str]) -> list[str]:
    """Millimetres that are two per cent too long."""
    return [
        "v " + " ".join(str(1.02 * float(v)) for v in line.split()[1:4])
        if line.startswith("v ")
        else line
        for line in lines
    ]


def _inverted(lines: list[str]) -> list[str]:
    """Faces that look inward."""
    return [
        " ".join(["f", *reversed(line.split()[1:])]) if line.startswith("f ") else line
        for line in lines
    ]


def _renamed(lines: list[str]) -> list[str]:
    return ["o spleen" if line == "o liver" else line for line in lines]


SABOTAGE: list[tuple[str, str, Edit]] = [
    ("inference", "not on the image's grid", _mask(_shifted)),
    ("inference", "blank", _mask(lambda m: m.like(np.zeros_like(m.voxels)))),
    ("inference", "Not where the anatomy is", _mask(_mirrored)),
    ("inference", "liver", _mask(_without(5))),
    ("ureter", "not one", _mask(_without(names.URETER_LEFT))),
    ("ureter", "away from its course", _mask(_far_bridge)),
    ("ureter", "not on the grid", _mask(_shifted)),
    ("fat", "Other voxels", _mask(_with(names.TUMOR))),
    ("fat", "mL of fat", _mask(_without(names.PERIRENAL_FAT))),
    ("smoothing", "not closed", _obj(_pierced)),
    ("smoothing", "volume of", _obj(_swollen)),
    ("smoothing", "volume of", _obj(_inverted)),
    ("smoothing", "The objects are", _obj(_renamed)),
]


@pytest.mark.parametrize(("step", "said", "edit"), SABOTAGE)
def test_what_is_wrong_is_found(
    steps: Steps, saboteur: Saboteur, step: str, said: str, edit: Edit
) -> None:
    """Each check can fail, and says why."""
    saboteur.edit = edit
    with pytest.raises(Failure, match=said):
        getattr(steps, step)()


def test_numbers_that_nobody_knows_are_found(steps: Steps, saboteur: Saboteur) -> None:
    """A mask in another table than ours."""
    saboteur.edit = _mask(_with(250))
    with pytest.raises(Exception, match="250"):
        steps.inference()


def test_a_result_that_is_not_there_is_found(steps: Steps, saboteur: Saboteur) -> None:
    """An answer that names files of somewhere else."""
    saboteur.edit = shutil.rmtree
    with pytest.raises(Failure, match="not in the data root"):
        steps.fat()


def test_the_same_results_untouched_pass(steps: Steps, saboteur: Saboteur) -> None:
    """So that it is the sabotage that is found."""
    saboteur.edit = lambda _: None
    for check in (steps.inference, steps.ureter, steps.fat, steps.smoothing):
        assert check().endswith(".")


def test_what_is_not_offered_is_skipped(steps: Steps, saboteur: Saboteur) -> None:
    """A sentence instead of a failure."""
    saboteur.edit = lambda _: None
    del steps.installation.offered["postprocess/fat"]
    with pytest.raises(Skip, match="postprocess/fat is not offered"):
        steps.fat()
