from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from nephra_contract import labels as names
from nephra_contract.errors import BundleInvalid, Unavailable
from nephra_nnunet.admission import check_machine
from nephra_nnunet.architecture import read_architecture
from nephra_nnunet.bundle import load_bundle
from nephra_nnunet.bundle_command import main
from nephra_nnunet.presets import PRESETS, Part, find_parts

Publish = Callable[..., Path]

TOTAL = PRESETS["totalsegmentator-total"]
FAST = PRESETS["totalsegmentator-total-fast"]
#: As the files of the release unpack.
FOLDERS = {
    291: "Dataset291_TotalSegmentator_part1_organs_1559subj",
    292: "Dataset292_TotalSegmentator_part2_vertebrae_1532subj",
    293: "Dataset293_TotalSegmentator_part3_cardiac_1559subj",
    294: "Dataset294_TotalSegmentator_part4_muscles_1559subj",
    295: "Dataset295_TotalSegmentator_part5_ribs_1559subj",
    297: "Dataset297_TotalSegmentator_total_3mm_1559subj",
}
TRAINER = "nnUNetTrainerNoMirroring__nnUNetPlans__3d_fullres"


def _named(part: Part) -> list[str]:
    return [names.name_of(number) for number in part.classes]


@pytest.fixture
def publish(tmp_path: Path, tiny: Any) -> Publish:
    """Lays out a network with tiny random weights as the release does; gives its folder."""

    def lay_out(
        part: Part,
        classes: list[str] | None = None,
        trainer: str = TRAINER,
        decided: bool = False,
    ) -> Path:
        folder = tmp_path / "results" / FOLDERS[part.dataset] / trainer
        folder.mkdir(parents=True)
        dataset = tiny.dataset(dict.fromkeys(classes or _named(part), 0))
        plans = tiny.plans(spacing=(1.5, 1.5, 1.5))
        plans["image_reader_writer"] = "NibabelIOWithReorient"
        (folder / "dataset.json").write_text(json.dumps(dataset))
        (folder / "plans.json").write_text(json.dumps(plans))
        network = plans["configurations"]["3d_fullres"]
        architecture = read_architecture(network, 1, len(dataset["labels"]))
        weights = tiny.weights(architecture, part.dataset)
        weights["decoder.seg_layers.1.bias"][1] += 1000 * decided
        tiny.checkpoint(folder / "fold_0" / "checkpoint_final.pth", weights)
        return folder

    return lay_out


def _add(preset: str, tmp_path: Path, *more: str) -> int:
    options = ["--preset", preset, "--from", str(tmp_path / "results"), *more]
    return main(["add", "totalseg", *options], tmp_path / "served")


def _manifest(folder: Path) -> Mapping[str, Any]:
    found: Mapping[str, Any] = yaml.safe_load((folder / "bundle.yaml").read_text())
    return found


def test_every_class_is_in_one_part_and_has_its_published_number() -> None:
    """The five parts hold 117 classes, in order; each has the count that its head has."""
    assert [len(part.classes) for part in TOTAL.parts] == [24, 26, 18, 23, 26]
    numbers = [number for part in TOTAL.parts for number in part.classes]
    assert numbers == list(range(1, 118)) == list(FAST.parts[0].classes)
    ends = [(names.name_of(p.classes[0]), names.name_of(p.classes[-1])) for p in TOTAL.parts]
    assert ends == [
        ("spleen", "kidney_cyst_right"),
        ("sacrum", "vertebrae_C1"),
        ("heart", "iliac_vena_right"),
        ("humerus_left", "skull"),
        ("rib_left_1", "costal_cartilages"),
    ]


def test_numbers_are_those_of_the_published_class_map(real_data: Path) -> None:
    """Our table and the map that came with the public example agree on all 117 names."""
    published = json.loads((real_data / "ct" / "class_map_total_v2.json").read_text())
    ours = [names.name_of(number) for part in TOTAL.parts for number in part.classes]
    assert [published[str(n)] for n in range(1, 118)] == ours


def test_five_published_networks_become_one_bundle(
    publish: Publish, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the datasets' numbers; all labels by name; RAS; licence and source written down."""
    for part in TOTAL.parts:
        publish(part)
    assert _add("totalsegmentator-total", tmp_path, "--default") == 0
    described = json.loads(capsys.readouterr().out)
    assert described["labels"] == {names.name_of(n): n for n in range(1, 118)}
    assert described["licence"] == "Apache-2.0"
    bundle = load_bundle(tmp_path / "served" / "totalseg")
    assert [part.folder.name for part in bundle.parts] == [part.name for part in TOTAL.parts]
    assert {part.manifest.orientation for part in bundle.parts} == {"RAS"}
    assert [part.manifest.default for part in (bundle, *bundle.parts)] == [True] + [False] * 5
    assert "Wasserthal" in bundle.manifest.trained_on
    assert bundle.manifest.source.startswith("https://github.com/wasserth/TotalSegmentator")


def test_the_fast_model_is_one_network_whose_classes_may_be_nameless(
    publish: Publish, tmp_path: Path
) -> None:
    """Generic names are taken in their order; a name that is known stands at its own place."""
    classes = [f"class_{n}" for n in range(1, 118)]
    classes[4] = "liver"
    publish(FAST.parts[0], classes)
    assert _add("totalsegmentator-total-fast", tmp_path) == 0
    bundle = load_bundle(tmp_path / "served" / "totalseg")
    assert bundle.numbers == tuple(range(118))
    assert (bundle.parts, bundle.manifest.orientation) == ((bundle,), "RAS")


def test_names_win_over_places(publish: Publish, tmp_path: Path) -> None:
    """A release that numbers its classes otherwise is mapped by name."""
    publish(FAST.parts[0], list(reversed(_named(FAST.parts[0]))))
    assert _add("totalsegmentator-total-fast", tmp_path) == 0
    labels = _manifest(tmp_path / "served" / "totalseg")["labels"]
    assert (labels["spleen"], labels["costal_cartilages"]) == (1, 117)


@pytest.mark.parametrize(
    "classes",
    [
        [f"class_{n}" for n in range(116)],
        ["liver", *(f"class_{n}" for n in range(116))],
        [*(names.name_of(n) for n in range(1, 117)), "kidney"],
    ],
)
def test_other_classes_than_the_published_are_refused(
    classes: list[str], publish: Publish, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another count, a known name at another's place, a name that the model does not have."""
    publish(FAST.parts[0], classes)
    assert _add("totalsegmentator-total-fast", tmp_path) == 2
    assert "not the 117" in json.loads(capsys.readouterr().err)["detail"]
    assert list((tmp_path / "served").iterdir()) == []


def test_missing_parts_are_named(
    publish: Publish, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of them at once, by number and content."""
    for part in TOTAL.parts[:3]:
        publish(part)
    assert _add("totalsegmentator-total", tmp_path) == 2
    detail = json.loads(capsys.readouterr().err)["detail"]
    assert "Dataset294_* (muscles)" in detail
    assert "Dataset295_* (ribs)" in detail
    assert "291" not in detail


def test_a_part_without_its_checkpoint_is_named(
    publish: Publish, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And nothing is left of the parts that were copied before."""
    for part in TOTAL.parts:
        folder = publish(part)
    (folder / "fold_0" / "checkpoint_final.pth").unlink()
    assert _add("totalsegmentator-total", tmp_path) == 2
    assert "Dataset295: The folder holds no" in json.loads(capsys.readouterr().err)["detail"]
    assert list((tmp_path / "served").iterdir()) == []


def test_folders_are_found_however_they_were_unpacked(publish: Publish, tmp_path: Path) -> None:
    """From the trainer's folder itself to one above the results."""
    folder = publish(FAST.parts[0])
    for source in (folder, folder.parent, folder.parent.parent, tmp_path):
        assert find_parts(FAST, source) == [folder]


def test_two_trainings_of_one_dataset_are_refused(publish: Publish, tmp_path: Path) -> None:
    """Which one is meant cannot be known."""
    publish(FAST.parts[0])
    publish(FAST.parts[0], trainer="nnUNetTrainer__nnUNetPlans__3d_fullres")
    with pytest.raises(BundleInvalid, match="2 trainings of Dataset297"):
        find_parts(FAST, tmp_path / "results")


def test_all_parts_are_admitted_to_bfloat16_or_none(
    publish: Publish, tmp_path: Path, tiny: Any
) -> None:
    """Each part keeps its own Dice, the whole has all of them, and its digest is the new one."""
    try:
        check_machine()
    except Unavailable:
        pytest.skip("this CPU does not compute in bfloat16")
    for part in TOTAL.parts:
        publish(part, decided=True)
    tiny.save(tmp_path / "ct.nii.gz", tiny.ct((14, 16, 12)))
    options = ["--bfloat16", "--try-on", str(tmp_path / "ct.nii.gz")]
    assert _add("totalsegmentator-total", tmp_path, *options) == 0
    bundle = load_bundle(tmp_path / "served" / "totalseg")
    assert {part.manifest.precision for part in (bundle, *bundle.parts)} == {"bfloat16"}
    first = {part.folder.name: names.name_of(part.numbers[1]) for part in bundle.parts}
    for name, network in zip(first, bundle.parts, strict=True):
        measured = network.manifest.metrics["bfloat16"]
        assert measured["dice_to_float32"] == {first[name]: 1.0}
        assert bundle.manifest.metrics["bfloat16"][name] == measured


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--task", "totalseg"], "Either --task or --preset"),
        (["--labels", "liver=5"], "knows its labels"),
        (["--orientation", "LPS"], "knows its labels"),
    ],
)
def test_a_preset_is_not_told_what_it_knows(
    more: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Instead of ignoring what was asked for."""
    assert _add("totalsegmentator-total-fast", tmp_path, *more) == 2
    assert said in json.loads(capsys.readouterr().err)["detail"]
