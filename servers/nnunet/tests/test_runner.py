from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nephra_contract.errors import (
    BundleInvalid,
    BundleUnknown,
    Cancelled,
    FileMissing,
    GeometryRefused,
    NephraError,
    OperationUnknown,
    PathRefused,
    PhaseMissing,
    PhasesApart,
    RequestInvalid,
    TooLarge,
    VoxelsRefused,
)
from nephra_contract.fences import close_ticket, open_ticket
from nephra_contract.nifti import read_labels
from nephra_contract.paths import DataRoot
from nephra_contract.progress import Progress
from nephra_contract.volume import Volume
from nephra_nnunet.__main__ import open_runner
from nephra_nnunet.phases import PhaseContradicted
from nephra_nnunet.runner import NnunetRunner
from nephra_nnunet.settings import Settings

MakeBundle = Callable[..., Path]
PHASES = {f"image_{p}_path": f"{p}.nii.gz" for p in "APD"}
TASKS = ["tumor", "vessel", "totalseg", "ureter"]
TICKET = "a" * 32
SEVERAL = {"tasks": ["totalseg", "tumor"], **PHASES, "ticket": TICKET, "step": ""}


@pytest.fixture
def runner(make_bundle: MakeBundle, data_folder: Path) -> NnunetRunner:
    """All four tasks with tiny networks."""
    folders = [make_bundle(task) for task in TASKS]
    settings = Settings(bundles=folders[0].parent, threads=1)
    return open_runner(DataRoot(data_folder), settings, warm_up=False)


@pytest.mark.parametrize(
    ("model", "members"),
    [
        ("totalseg", {"image_path": "A.nii.gz"}),
        ("tumor", {"image_path": "A.nii.gz", "mirroring": True}),
        ("vessel", {m: PHASES[m] for m in ("image_A_path", "image_P_path")}),
        ("ureter", {"image_D_path": "D.nii.gz"}),
    ],
)
def test_each_task_answers_with_a_mask_on_the_image(
    model: str, members: dict[str, Any], runner: NnunetRunner, data_folder: Path, tiny: Any
) -> None:
    """The grid of the image, our numbers, sides, and a manifest that says where it comes from."""
    answer = runner.run(model, members, Progress())
    labels = read_labels(data_folder / str(answer.mask_path))
    assert labels.same_grid(tiny.ct())
    sided = {2, 3, 206, 207} | set(tiny.classes[model].values())
    assert labels.present
    assert set(labels.present) <= sided - {200, 205}
    manifest = json.loads((data_folder / answer.manifest_path).read_text())
    assert manifest["bundle"]["name"] == model
    assert manifest["engine"]["backend"] == "openvino"
    assert manifest["engine"]["mirroring"] is bool(members.get("mirroring"))
    assert manifest["operation"] == f"inference/{model}"


def test_many_tasks_read_each_file_once(runner: NnunetRunner, data_folder: Path) -> None:
    """Four tasks on three phases: three reads, each phase prepared once; organs come first."""
    announced: list[str] = []
    fractions: list[float] = []
    progress = Progress(
        report=lambda fraction, stage: fractions.append(fraction),
        artifact=lambda kind, detail: announced.append(kind),
    )
    answer = runner.run("inference", {"tasks": TASKS, **PHASES}, progress)
    assert {p.name: n for p, n in runner.reader.reads.items()} == {
        "A.nii.gz": 1, "P.nii.gz": 1, "D.nii.gz": 1,
    }  # fmt: skip
    assert announced == ["totalseg", "tumor", "vessel", "ureter"]
    assert set(answer.parts) == set(TASKS)
    manifest = json.loads((data_folder / answer.manifest_path).read_text())
    assert manifest["report"]["prepared_channels"] == 3
    assert min(np.diff(fractions)) > -1e-9
    assert fractions[-1] == 1


def test_the_next_request_neither_reads_nor_prepares(
    runner: NnunetRunner, data_folder: Path
) -> None:
    """Equal content is known again, under another name too; other content is not."""
    first = runner.run("tumor", {"image_path": "A.nii.gz"}, Progress())
    assert first.report == {"reads": {"A.nii.gz": 1}, "prepared_channels": 1}
    (data_folder / "copy.nii.gz").write_bytes((data_folder / "A.nii.gz").read_bytes())
    again = runner.run("totalseg", {"image_path": "copy.nii.gz"}, Progress())
    assert again.report == {"reads": {}, "prepared_channels": 0}
    (data_folder / "copy.nii.gz").write_bytes((data_folder / "D.nii.gz").read_bytes())
    other = runner.run("tumor", {"image_path": "copy.nii.gz"}, Progress())
    assert other.report == {"reads": {"copy.nii.gz": 1}, "prepared_channels": 1}
    assert first.volumes_ml != other.volumes_ml


def test_work_that_cannot_fit_is_refused_before_it_begins(
    make_bundle: MakeBundle, data_folder: Path
) -> None:
    """With what it needs, what there is, and what would fit; nothing is read."""
    folder = make_bundle("tumor")
    runner = open_runner(
        DataRoot(data_folder), Settings(bundles=folder.parent, memory_mib=1), warm_up=False
    )
    with pytest.raises(TooLarge, match=r"This needs about \S+ GiB for image_path of 30 x 34 x 26"):
        runner.run("tumor", {"image_path": "A.nii.gz"}, Progress())
    assert not runner.reader.reads
    assert not (data_folder / "results").exists()


def test_one_file_in_two_phases_is_one_read(runner: NnunetRunner) -> None:
    """The file counts, not the member that names it."""
    members = {"image_A_path": "A.nii.gz", "image_P_path": "A.nii.gz"}
    runner.run("inference", {"tasks": ["tumor", "vessel"], **members}, Progress())
    assert list(runner.reader.reads.values()) == [1]


def test_a_task_takes_the_first_phase_of_its_preference(runner: NnunetRunner) -> None:
    """Tumours from A, else P, else D."""
    for given, taken in ((["D", "P", "A"], "A"), (["D", "P"], "P"), (["D"], "D")):
        members = {f"image_{p}_path": f"{p}.nii.gz" for p in given}
        answer = runner.run("inference", {"tasks": ["tumor"], **members}, Progress())
        path = runner.data.root / answer.parts["tumor"].manifest_path
        assert json.loads(path.read_text())["phases"] == [taken]


def test_the_portal_phase_is_brought_onto_the_arterial_grid(
    runner: NnunetRunner, data_folder: Path, tiny: Any
) -> None:
    """Another grid over the same patient gives nearly the same vessels."""
    ct = tiny.ct(seed=1)
    members = {"image_A_path": "A.nii.gz", "image_P_path": "P.nii.gz"}
    first = runner.run("vessel", members, Progress())
    turned = Volume(np.asfortranarray(ct.voxels[::-1, :, ::-1]), ct.affine.copy())
    turned.affine[:3, 3] += ct.affine[:3, :3] @ [29, 0, 25]
    turned.affine[:3, 0] *= -1
    turned.affine[:3, 2] *= -1
    tiny.save(data_folder / "P.nii.gz", turned)
    second = runner.run("vessel", members, Progress())
    one, two = (read_labels(data_folder / str(a.mask_path)) for a in (first, second))
    assert np.array_equal(one.voxels, two.voxels)


def test_output_path_puts_a_copy_where_it_is_asked_for(
    runner: NnunetRunner, data_folder: Path
) -> None:
    """Beside the result of the ticket."""
    request = {"image_path": "A.nii.gz", "output_path": "out/kidney.nii.gz"}
    assert runner.run("tumor", request, Progress()).mask_path == "out/kidney.nii.gz"
    assert (data_folder / "out" / "kidney.labels.json").is_file()


def _apart(tiny: Any) -> Volume:
    ct: Volume = tiny.ct()
    affine = ct.affine.copy()
    affine[2, 3] += 5000
    return Volume(ct.voxels, affine)


def _not_finite(tiny: Any) -> Volume:
    ct: Volume = tiny.ct()
    voxels = ct.voxels.astype(np.float32)
    voxels[3, 3, 3] = np.inf
    return Volume(voxels, ct.affine)


def _sheared(tiny: Any) -> Volume:
    ct: Volume = tiny.ct()
    affine = ct.affine.copy()
    affine[0, 2] = 1.0
    return Volume(ct.voxels, affine)


VESSEL = {"image_A_path": "A.nii.gz", "image_P_path": "bad.nii.gz"}


@pytest.mark.parametrize(
    ("model", "request_", "error"),
    [
        ("spleen", {}, OperationUnknown),
        ("tumor", {"image_path": "none.nii.gz"}, FileMissing),
        ("tumor", {"image_path": "../A.nii.gz"}, PathRefused),
        ("tumor", {"image_path": "A.nii.gz", "bundle": "tumor-v9"}, BundleUnknown),
        ("tumor", {"image_path": "A.nii.gz", "bundle": "vessel"}, BundleUnknown),
        ("tumor", {"image_path": "A.nii.gz", "colour": 1}, RequestInvalid),
        ("vessel", {"image_A_path": "A.nii.gz"}, RequestInvalid),
        ("inference", {"tasks": ["hair"], "image_A_path": "A.nii.gz"}, RequestInvalid),
        ("inference", {"tasks": ["vessel"], "image_A_path": "A.nii.gz"}, PhaseMissing),
        ("inference", {"tasks": ["ureter"], "image_A_path": "A.nii.gz"}, PhaseMissing),
        ("inference", {"tasks": ["tumor"]}, PhaseMissing),
        (
            "inference",
            {"tasks": ["tumor"], "image_A_path": "A.nii.gz", "bundles": {"vessel": "v"}},
            RequestInvalid,
        ),
        (
            "inference",
            {"tasks": ["tumor"], "image_A_path": "A.nii.gz", "output_path": "o.nii.gz"},
            RequestInvalid,
        ),
    ],
)
def test_bad_requests_are_refused_before_a_voxel_is_read(
    model: str, request_: dict[str, Any], error: type[NephraError], runner: NnunetRunner
) -> None:
    """No read, no result."""
    with pytest.raises(error):
        runner.run(model, request_, Progress())
    assert not runner.reader.reads
    assert not (runner.data.root / "results").exists()


@pytest.mark.parametrize(
    ("make", "error"),
    [(_apart, PhasesApart), (_not_finite, VoxelsRefused), (_sheared, GeometryRefused)],
)
def test_bad_images_are_refused_and_leave_nothing(
    make: Callable[[Any], Volume],
    error: type[NephraError],
    runner: NnunetRunner,
    data_folder: Path,
    tiny: Any,
) -> None:
    """Even where another task of the request could have been done."""
    tiny.save(data_folder / "bad.nii.gz", make(tiny))
    with pytest.raises(error):
        runner.run("inference", {"tasks": ["totalseg", "vessel"], **VESSEL}, Progress())
    assert not list((data_folder).glob("results/*/*"))


def test_a_missing_phase_is_named(runner: NnunetRunner) -> None:
    """The sentence says which one, and which member to send."""
    with pytest.raises(PhaseMissing) as caught:
        runner.run("inference", {"tasks": ["ureter"], "image_A_path": "A.nii.gz"}, Progress())
    assert "delayed (D)" in caught.value.detail
    assert "image_D_path" in caught.value.action


def test_an_unknown_bundle_comes_with_the_known_ones(runner: NnunetRunner) -> None:
    """404 with names."""
    request = {"image_path": "A.nii.gz", "bundle": "tumor-v9"}
    with pytest.raises(BundleUnknown) as caught:
        runner.run("tumor", request, Progress())
    assert caught.value.extra["bundles"] == ["tumor"]


def test_cancelling_removes_what_was_already_there(runner: NnunetRunner, data_folder: Path) -> None:
    """After the first mask of three the caller goes: nothing stays."""
    stop = threading.Event()
    progress = Progress(stop=stop, artifact=lambda kind, detail: stop.set())
    with pytest.raises(Cancelled):
        runner.run("inference", {"tasks": ["totalseg", "tumor"], **PHASES}, progress)
    assert not list((data_folder / "results").glob("*"))


def test_masks_of_an_attempt_that_failed_stay_for_the_next(
    runner: NnunetRunner, data_folder: Path
) -> None:
    """Somebody may have them in use; the second attempt takes them for its own."""
    data, stop = DataRoot(data_folder), threading.Event()
    open_ticket(data, TICKET)
    failing = Progress(stop=stop, artifact=lambda kind, detail: stop.set())
    with pytest.raises(Cancelled):
        runner.run("inference", SEVERAL, failing)
    home = data_folder / "results" / TICKET
    assert {p.name for p in home.iterdir()} == {".work-0", "inference-totalseg"}
    first = (home / "inference-totalseg" / "manifest.json").read_bytes()
    answer = runner.run("inference", SEVERAL, Progress())
    close_ticket(data, TICKET)
    names = {"inference-of-totalseg-tumor", "inference-totalseg", "inference-tumor"}
    assert {p.name for p in home.iterdir()} == names
    assert (home / "inference-totalseg" / "manifest.json").read_bytes() == first
    assert answer.parts is not None
    assert answer.parts["totalseg"].mask_path == f"results/{TICKET}/inference-totalseg/mask.nii.gz"


@pytest.mark.parametrize(
    ("model", "request_"),
    [("inference", SEVERAL), ("tumor", {"image_path": "A.nii.gz", "ticket": TICKET, "step": ""})],
)
def test_work_for_a_ticket_that_has_ended_reads_nothing(
    runner: NnunetRunner, data_folder: Path, model: str, request_: dict[str, Any]
) -> None:
    """No image is read, nor an hour of inference begun, for nobody."""
    data = DataRoot(data_folder)
    open_ticket(data, TICKET)
    close_ticket(data, TICKET)
    for image in data_folder.glob("*.nii.gz"):  # what reads their voxels fails
        os.truncate(image, image.stat().st_size // 2)
    with pytest.raises(Cancelled) as caught:
        runner.run(model, request_, Progress())
    assert caught.value.code == "ticket_closed"
    assert not list((data_folder / "results" / TICKET).iterdir())


def test_a_ticket_closed_between_two_masks_gets_no_other(
    runner: NnunetRunner, data_folder: Path
) -> None:
    """Whoever closed it need not have reached this predictor."""
    data = DataRoot(data_folder)
    open_ticket(data, TICKET)
    unheard = Progress(artifact=lambda kind, detail: close_ticket(data, TICKET))
    with pytest.raises(Cancelled) as caught:
        runner.run("inference", SEVERAL, unheard)
    assert caught.value.code == "ticket_closed"
    made = [p.name for p in (data_folder / "results" / TICKET).iterdir()]
    assert made == ["inference-totalseg"]


def test_a_contradicted_phase_warns_or_is_refused(runner: NnunetRunner, data_folder: Path) -> None:
    """Random networks call air a vessel: a warning, or with `strict_phases` an error."""
    answer = runner.run("vessel", {m: PHASES[m] for m in list(PHASES)[:2]}, Progress())
    assert any("arterial (A) does not look like it" in w for w in answer.warnings)
    manifest = json.loads((data_folder / answer.manifest_path).read_text())
    assert manifest["warnings"] == answer.warnings
    assert "artery_hu" in manifest["enhancement_hu"]["A"]
    request = {m: PHASES[m] for m in list(PHASES)[:2]} | {"strict_phases": True}
    with pytest.raises(PhaseContradicted) as caught:
        runner.run("vessel", request, Progress())
    assert (caught.value.status, caught.value.code) == (422, "phase_contradicted")


def test_bundles_and_operations_are_described(runner: NnunetRunner) -> None:
    """Five models, four bundles."""
    assert [d.model for d in runner.describe()] == [
        "totalseg", "vessel", "ureter", "tumor", "inference",
    ]  # fmt: skip
    assert {b.task for b in runner.bundles()} == set(TASKS)


def test_a_broken_bundle_stops_nobody_else(
    make_bundle: MakeBundle, runner: NnunetRunner, data_folder: Path
) -> None:
    """It is not ready, and says why when it is asked for."""
    folder = make_bundle("tumor", "tumor-v1")
    (folder / "plans.json").write_text("{}")
    again = open_runner(
        DataRoot(data_folder), Settings(bundles=folder.parent, threads=1), warm_up=True
    )
    assert again.run("tumor", {"image_path": "A.nii.gz"}, Progress()).volumes_ml
    with pytest.raises(BundleInvalid, match="sha256"):
        again.run("tumor", {"image_path": "A.nii.gz", "bundle": "tumor-v1"}, Progress())


def test_bundles_can_be_called_by_name(
    make_bundle: MakeBundle, runner: NnunetRunner, data_folder: Path
) -> None:
    """An older model stays callable; the default is the one that says so."""
    folder = make_bundle("tumor", "tumor-v1", seed=9)
    again = open_runner(DataRoot(data_folder), Settings(bundles=folder.parent), warm_up=False)
    answers = [
        again.run("tumor", {"image_path": "A.nii.gz", **named}, Progress())
        for named in ({}, {"bundle": "tumor-v1"})
    ]
    names = [
        json.loads((data_folder / a.manifest_path).read_text())["bundle"]["name"] for a in answers
    ]
    assert names == ["tumor", "tumor-v1"]
    assert answers[0].volumes_ml != answers[1].volumes_ml


def test_only_one_request_runs_at_a_time(runner: NnunetRunner) -> None:
    """Who waits for the engine can still be cancelled."""
    stop = threading.Event()
    waiting = threading.Event()

    def report(fraction: float, stage: str) -> None:
        if stage.endswith("waiting"):
            waiting.set()
            stop.set()

    with (
        runner.engine.turn(Progress()),
        pytest.raises(Cancelled),
    ):
        runner.run("tumor", {"image_path": "A.nii.gz"}, replace(Progress(report), stop=stop))
    assert waiting.is_set()
