"""From a request to an answer on real files."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import Field

from nephra_contract import labels as names
from nephra_contract.errors import Cancelled, NephraError, OperationUnknown, StructureMissing
from nephra_contract.execution import OperationRunner, execute
from nephra_contract.nifti import read_labels, write_labels
from nephra_contract.operation import Input, Operation, Outcome, Parameters
from nephra_contract.paths import DataRoot
from nephra_contract.progress import Progress
from nephra_contract.results import sha256
from nephra_contract.volume import LabelMap


class Keep(Parameters):
    """Keep one label."""

    number: int = Field(201, ge=1, description="The label that stays.")


def _keep(labels: LabelMap, parameters: Keep, progress: Progress) -> Outcome:
    progress.advance(0.5, "keeping")
    if parameters.number not in labels.counts:
        raise StructureMissing("The label is not there.", "Choose another.")
    kept = labels.like(np.where(labels.voxels == parameters.number, labels.voxels, 0))
    progress.advance(1.0)
    return Outcome(kept, {"kept": kept.counts[parameters.number]}, ("a warning",))


KEEP = Operation(
    "postprocess/keep", (Input("mask_path", "mask", "The mask.", many=True),), Keep, _keep
)


@pytest.fixture
def rooted(data: DataRoot, labels: LabelMap) -> DataRoot:
    """A data root with one mask."""
    write_labels(data.root / "m.nii.gz", labels)
    return data


def _tree(root: Path) -> set[str]:
    return {p.relative_to(root).as_posix() for p in root.rglob("*")}


def test_the_answer_names_files_that_are_there(rooted: DataRoot, labels: LabelMap) -> None:
    """Mask, its table, and a manifest that says where it all comes from."""
    answer = execute(KEEP, {"mask_path": "m.nii.gz"}, rooted, Progress())
    assert answer.mask_path == f"results/{answer.ticket}/postprocess-keep/mask.nii.gz"
    kept = read_labels(rooted.file(answer.mask_path))
    assert kept.counts == {201: labels.counts[201]}
    assert kept.same_grid(labels)
    assert answer.labels_path
    assert list(json.loads(rooted.file(answer.labels_path).read_text())) == ["tumor"]
    assert answer.volumes_ml == {"tumor": pytest.approx(labels.volumes_ml()[201], rel=1e-3)}
    manifest = json.loads(rooted.file(answer.manifest_path).read_text())
    assert manifest["inputs"]["mask_path"][0]["sha256"] == sha256(rooted.file("m.nii.gz"))
    assert manifest["outputs"]["mask_path"]["sha256"] == sha256(rooted.file(answer.mask_path))
    assert manifest["parameters"] == {"number": 201}
    assert manifest["report"] == {"kept": labels.counts[201]} == answer.report
    assert manifest["warnings"] == ["a warning"] == answer.warnings
    assert manifest["timings"].keys() == {"read_s", "compute_s", "write_s"}


def test_a_layer_is_a_file_of_its_own(rooted: DataRoot, labels: LabelMap) -> None:
    """`added` is answered as `added_path`, stands in the manifest, and follows `output_path`."""

    def keep(given: LabelMap, parameters: Keep, progress: Progress) -> Outcome:
        added = given.like(np.where(given.voxels == names.TUMOR, given.voxels, 0))
        return Outcome(given, layers={"added": added})

    operation = Operation("postprocess/keep", KEEP.inputs, Keep, keep)
    request = {"mask_path": "m.nii.gz", "output_path": "out/mine.nii.gz"}
    answer = execute(operation, request, rooted, Progress())
    assert answer.mask_path == "out/mine.nii.gz"
    assert answer.added_path == "out/mine-added.nii.gz"
    layer = read_labels(rooted.file(answer.added_path))
    assert layer.counts == {names.TUMOR: labels.counts[names.TUMOR]}
    assert layer.same_grid(labels)
    manifest = json.loads(rooted.file(answer.manifest_path).read_text())
    assert manifest["outputs"]["added_path"]["sha256"] == sha256(rooted.file(answer.added_path))
    assert execute(KEEP, {"mask_path": "m.nii.gz"}, rooted, Progress()).added_path is None


def test_masks_in_a_list_are_merged_on_the_first_grid(rooted: DataRoot, labels: LabelMap) -> None:
    """Kidney and tumour may come in two files."""
    only = labels.like(np.where(labels.voxels == names.TUMOR, labels.voxels, 0))
    rest = labels.like(np.where(labels.voxels == names.TUMOR, 0, labels.voxels))
    write_labels(rooted.root / "tumor.nii.gz", only)
    write_labels(rooted.root / "rest.nii.gz", rest)
    both = {"mask_path": ["rest.nii.gz", "tumor.nii.gz"]}
    answer = execute(KEEP, both, rooted, Progress())
    assert answer.report == {"kept": labels.counts[201]}


def test_kits_masks_come_out_in_our_numbers_with_sides(rooted: DataRoot, labels: LabelMap) -> None:
    """Output is always in our table."""
    voxels = np.select(
        [np.isin(labels.voxels, names.KIDNEYS), labels.voxels == names.TUMOR], [1, 2]
    ).astype(np.uint8)
    write_labels(rooted.root / "k.nii.gz", labels.like(voxels))
    request = {"mask_path": "k.nii.gz", "labels": "kits", "number": names.KIDNEY_LEFT}
    answer = execute(KEEP, request, rooted, Progress())
    assert answer.report["kept"] == labels.counts[names.KIDNEY_LEFT]


def test_output_path_gets_a_copy_under_its_own_name(rooted: DataRoot) -> None:
    """The answer names the copy."""
    request = {"mask_path": "m.nii.gz", "output_path": "out/mine.nii.gz"}
    answer = execute(KEEP, request, rooted, Progress())
    assert answer.mask_path == "out/mine.nii.gz"
    assert answer.labels_path == "out/mine.labels.json"
    assert rooted.file("out/mine.nii.gz").stat().st_size
    assert rooted.file("out/mine.labels.json").stat().st_size


@pytest.mark.parametrize(
    ("code", "request_"),
    [
        ("file_not_found", {"mask_path": "gone.nii.gz"}),
        ("path_refused", {"mask_path": "../m.nii.gz"}),
        ("request_invalid", {"mask_path": "m.nii.gz", "numbr": 1}),
        ("structure_missing", {"mask_path": "m.nii.gz", "number": 99}),
        ("labels_unknown", {"mask_path": "m.nii.gz", "labels": "kits"}),
        ("path_refused", {"mask_path": "m.nii.gz", "output_path": "/tmp/x.nii.gz"}),
        ("request_invalid", {"mask_path": "m.nii.gz", "output_path": "m.nii.gz"}),
        ("request_invalid", {"mask_path": "m.nii.gz", "output_path": "x.obj"}),
    ],
)
def test_a_refused_request_leaves_nothing_behind(
    rooted: DataRoot, code: str, request_: dict[str, Any]
) -> None:
    """The data root is as before."""
    before = _tree(rooted.root)
    with pytest.raises(NephraError) as error:
        execute(KEEP, request_, rooted, Progress())
    assert error.value.code == code
    assert _tree(rooted.root) == before


def test_a_cancelled_request_leaves_nothing_behind(rooted: DataRoot) -> None:
    """Wherever it is cancelled: before, while computing, before writing."""
    before = _tree(rooted.root)
    for at in (0.0, 0.5, 0.9):
        stop = threading.Event()

        def report(fraction: float, _: str, at: float = at, stop: threading.Event = stop) -> None:
            if fraction >= at:
                stop.set()

        with pytest.raises(Cancelled):
            execute(KEEP, {"mask_path": "m.nii.gz"}, rooted, Progress(report, stop))
        assert _tree(rooted.root) == before


def test_a_runner_offers_and_runs_by_model_name(rooted: DataRoot) -> None:
    """What a predictor serves."""
    runner = OperationRunner.of("postprocess", (KEEP,), rooted, max_voxels=10**6)
    assert [d.name for d in runner.describe()] == ["postprocess/keep"]
    assert runner.bundles() == []
    assert runner.run("keep", {"mask_path": "m.nii.gz"}, Progress()).operation == "postprocess/keep"
    with pytest.raises(OperationUnknown) as error:
        runner.run("kep", {}, Progress())
    assert "keep" in error.value.action


def test_the_voxel_limit_of_the_service_holds(rooted: DataRoot) -> None:
    """413 before anything is unpacked."""
    with pytest.raises(NephraError) as error:
        execute(KEEP, {"mask_path": "m.nii.gz"}, rooted, Progress(), max_voxels=1000)
    assert error.value.status == 413
