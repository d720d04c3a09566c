"""The demo models' tasks speak our label numbers, and their results can be made again."""

from __future__ import annotations

import numpy as np
import pytest

from nephra_contract.labels import name_of
from nephra_phantom.bundles.dataset import draw_grid, draw_phases
from nephra_phantom.bundles.plans import CONFIGURATION, write_plans
from nephra_phantom.bundles.real_ct import class_of
from nephra_phantom.bundles.tasks import TASKS, TRAINING_SEEDS, UNSEEN_SEEDS, VALIDATION_SEEDS, Task

ALL = list(TASKS.values())


@pytest.mark.parametrize("task", ALL, ids=list(TASKS))
def test_class_names_are_those_of_the_label_table(task: Task) -> None:
    """A class and its number mean the same in the table."""
    for name, number in task.numbers.items():
        assert name_of(number) == name


@pytest.mark.parametrize("task", ALL, ids=list(TASKS))
def test_target_holds_the_members_of_each_class(task: Task) -> None:
    """Truth numbers become class numbers, strangers background."""
    for name, (_, members) in task.classes.items():
        truth = np.array([*members, 0, 213], np.uint8)
        assert set(task.target(truth)[: len(members)].tolist()) == {task.labels[name]}
        assert task.target(truth)[-2:].tolist() == [0, 0]


def test_training_never_sees_what_is_measured_on() -> None:
    """Seeds for learning, watching and measuring do not overlap."""
    sets = [set(TRAINING_SEEDS), set(VALIDATION_SEEDS), set(UNSEEN_SEEDS)]
    assert len(set.union(*sets)) == sum(len(one) for one in sets)


@pytest.mark.parametrize("task", ALL, ids=list(TASKS))
def test_patch_can_be_halved_by_every_stage(task: Task) -> None:
    """The network's strides divide the patch."""
    assert task.patch % 2 ** (len(task.features) - 1) == 0


def test_phases_are_drawn_from_those_allowed() -> None:
    """Each channel gets a phase it may be; totalseg also learns native scans."""
    rng = np.random.default_rng(0)
    seen = {phase for _ in range(60) for phase in draw_phases(TASKS["totalseg"], rng)}
    assert seen == {"A", "P", "D", "N"}
    assert draw_phases(TASKS["vessel"], rng) == ["A", "P"]


def test_grids_for_training_contain_the_hila() -> None:
    """Whatever is drawn, the field of view holds the middle of both kidneys."""
    for seed in range(20):
        grid, _ = draw_grid(2.5, np.random.default_rng(seed))
        low = grid.affine[:3, 3]
        high = low + grid.spacing_mm * np.array(grid.shape)
        assert np.all(low < [-110, -80, 60])
        assert np.all(high > [110, -10, 90])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("kidney_left", "kidney"),
        ("kidney_cyst_left", "kidney_cyst_left"),
        ("sacrum", "spine"),
        ("vertebrae_L3", "spine"),
        ("rib_left_9", "ribs"),
        ("aorta", "aorta"),
    ],
)
def test_real_classes_are_grouped_as_ours(name: str, expected: str) -> None:
    """The real CT's class names fall into the model's classes."""
    assert class_of(name) == expected


def test_plans_are_in_the_new_format(tmp_path: object) -> None:
    """Plans written for a task name the network and its sizes as nnU-Net 2.3+ reads them."""
    import json
    from pathlib import Path

    assert isinstance(tmp_path, Path)
    task = TASKS["vessel"]
    folder = tmp_path / task.dataset_name
    folder.mkdir()
    stored = {"foreground_intensity_properties_per_channel": {"0": {"mean": 1.0}}}
    (folder / "dataset_fingerprint.json").write_text(json.dumps(stored))
    plans = json.loads(write_plans(task, tmp_path).read_text())
    configuration = plans["configurations"][CONFIGURATION]
    assert configuration["patch_size"] == [64, 64, 64]
    assert len(configuration["normalization_schemes"]) == 2
    kwargs = configuration["architecture"]["arch_kwargs"]
    assert kwargs["features_per_stage"] == list(task.features)
    assert plans["image_reader_writer"] == "NibabelIOWithReorient"
