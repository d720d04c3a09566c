from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from nephra_contract.errors import BundleInvalid, Unavailable
from nephra_nnunet.admission import MAX_STRAY_VOXELS, check_machine, compare
from nephra_nnunet.bundle import load_bundle
from nephra_nnunet.bundle_command import main
from nephra_nnunet.checkpoint import read_checkpoint

MakeBundle = Callable[..., Path]


@pytest.fixture
def computes_bfloat16() -> None:
    """Skips where the CPU has no instructions for it."""
    pytest.importorskip("openvino", reason="openvino is not installed")
    try:
        check_machine()
    except Unavailable:
        pytest.skip("this CPU does not compute in bfloat16")


def _labels(*counts: int) -> Any:
    """A label map with so many voxels of label 1, 2, …, and as much background."""
    return np.repeat(np.arange(len(counts) + 1), [sum(counts), *counts]).astype(np.uint8)


def test_equal_labels_are_admitted() -> None:
    """Dice is one for each label that is there."""
    found = compare(_labels(2000, 30), _labels(2000, 30))
    found.check()
    assert set(found.dice.values()) == {1.0}
    assert found.metrics()["voxels_that_differ"] == 0


def test_a_large_label_is_judged_by_dice() -> None:
    """At 0.99 it is admitted, below it is not, and the numbers are said."""
    single = _labels(10_000)
    half = single.copy()
    half[-190:] = 0
    compare(single, half).check()
    half[-210:] = 0
    with pytest.raises(BundleInvalid, match=r"Dice spleen 0\.98.*210 of 10000"):
        compare(single, half).check()


def test_a_small_label_is_judged_by_the_voxels_that_differ() -> None:
    """A few at its surface are rounding; more are not, and to vanish is not."""
    single = _labels(60, 3000)
    half = single.copy()
    half[3060 : 3060 + MAX_STRAY_VOXELS] = 0
    assert compare(single, half).dice["spleen"] < 0.9
    compare(single, half).check()
    half[3060 : 3060 + 60] = 0
    with pytest.raises(BundleInvalid, match=r"60 of 60"):
        compare(single, half).check()


def test_a_label_that_only_bfloat16_finds_counts() -> None:
    """What is invented is as wrong as what is lost."""
    with pytest.raises(BundleInvalid, match="kidney_right"):
        compare(_labels(4000, 0), _labels(3000, 1000)).check()


def test_an_image_without_any_label_proves_nothing() -> None:
    """No labels are equal labels, and say nothing of others."""
    with pytest.raises(BundleInvalid, match="proves nothing"):
        compare(np.zeros(9, np.uint8), np.zeros(9, np.uint8)).check()


def _change(folder: Path, tiny: Any, change: Callable[[Any, Any], None]) -> None:
    """Change weights and biases of the last layer of a training."""
    path = folder / "fold_0" / "checkpoint_final.pth"
    checkpoint = read_checkpoint(path)
    tensors = dict(checkpoint.weights(checkpoint.tensors))
    last = "decoder.seg_layers.1"
    weight, bias = tensors[f"{last}.weight"].copy(), tensors[f"{last}.bias"].copy()
    change(weight, bias)
    tensors.update({f"{last}.weight": weight, f"{last}.bias": bias})
    tiny.checkpoint(path, {n: w for n, w in tensors.items() if not n.startswith("decoder.enc")})
    (folder / "bundle.yaml").unlink()


def _decide(weight: Any, bias: Any) -> None:
    """One output wins by so much that no rounding changes the label."""
    bias[1] += 1000


def _waver(weight: Any, bias: Any) -> None:
    """Two outputs differ by less than bfloat16 can tell apart."""
    weight[2], bias[1:] = weight[1] * 1.0005, 0
    bias[0] = -1000


def _add(source: Path, target: Path, *more: str) -> int:
    return main(["add", "t", "--task", "tumor", "--from", str(source), *more], target)


@pytest.mark.usefixtures("computes_bfloat16")
def test_a_bundle_with_decided_labels_is_admitted(
    make_bundle: MakeBundle, data_folder: Path, tmp_path: Path, tiny: Any
) -> None:
    """bundle.yaml says the precision, the Dice that was measured, and on which image."""
    folder = make_bundle("tumor")
    _change(folder, tiny, _decide)
    image = str(data_folder / "A.nii.gz")
    assert _add(folder, tmp_path / "served", "--bfloat16", "--try-on", image) == 0
    manifest = load_bundle(tmp_path / "served" / "t").manifest
    assert manifest.precision == "bfloat16"
    assert manifest.metrics["bfloat16"]["dice_to_float32"] == {"kidney": 1.0}
    assert len(manifest.metrics["bfloat16"]["images"][0]) == 64


@pytest.mark.usefixtures("computes_bfloat16")
def test_a_bundle_whose_labels_change_is_refused(
    make_bundle: MakeBundle,
    data_folder: Path,
    tmp_path: Path,
    tiny: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Where two outputs are nearly equal, rounding turns labels. Nothing is left of the bundle."""
    image = str(data_folder / "A.nii.gz")
    folder = make_bundle("tumor")
    _change(folder, tiny, _waver)
    assert _add(folder, tmp_path / "served", "--bfloat16", "--try-on", image) == 2
    assert "other labels than in float32" in json.loads(capsys.readouterr().err)["detail"]
    assert list((tmp_path / "served").iterdir()) == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--bfloat16"], "admitted by a comparison"),
        (["--try-on", "A.nii.gz"], "admitted by a comparison"),
    ],
)
def test_bfloat16_is_not_taken_on_trust(
    more: list[str],
    said: str,
    make_bundle: MakeBundle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without an image nothing is compared, and nothing is admitted."""
    assert _add(make_bundle("tumor"), tmp_path / "served", *more) == 2
    assert said in json.loads(capsys.readouterr().err)["detail"]


@pytest.mark.usefixtures("computes_bfloat16")
def test_each_channel_needs_its_image(
    make_bundle: MakeBundle,
    data_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two images for one channel are one too many."""
    images = [str(data_folder / f"{phase}.nii.gz") for phase in "AP"]
    more = ["--bfloat16", "--try-on", *images]
    assert _add(make_bundle("tumor"), tmp_path / "served", *more) == 2
    assert "names 2 images" in json.loads(capsys.readouterr().err)["detail"]


def test_a_precision_written_by_hand_is_refused(make_bundle: MakeBundle) -> None:
    """bundle.yaml has to say what was measured."""
    folder = make_bundle("tumor")
    manifest = yaml.safe_load((folder / "bundle.yaml").read_text())
    (folder / "bundle.yaml").write_text(yaml.safe_dump({**manifest, "precision": "bfloat16"}))
    with pytest.raises(BundleInvalid, match="bundle add --bfloat16"):
        load_bundle(folder)
