from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from nephra_contract.errors import BundleInvalid
from nephra_contract.progress import Progress
from nephra_nnunet.backends import open_backend
from nephra_nnunet.bundle import load_bundle
from nephra_nnunet.cache import ByteCache
from nephra_nnunet.checkpoint import read_checkpoint
from nephra_nnunet.dataset import MAX_HEADS
from nephra_nnunet.engine import Engine
from nephra_nnunet.preparation import Image, Preparations

MakeBundle = Callable[..., Path]


def _edit(folder: Path, name: str, change: Callable[[dict[str, Any]], None], tiny: Any) -> None:
    """Change a document of a bundle, and seal it again."""
    document = json.loads((folder / name).read_text())
    change(document)
    (folder / name).write_text(json.dumps(document))
    manifest = yaml.safe_load((folder / "bundle.yaml").read_text())
    manifest.pop("files")
    tiny.seal(folder, **manifest)


def _edit_manifest(folder: Path, **members: Any) -> None:
    manifest = yaml.safe_load((folder / "bundle.yaml").read_text())
    (folder / "bundle.yaml").write_text(yaml.safe_dump({**manifest, **members}))


def test_a_good_bundle_says_what_it_is(make_bundle: MakeBundle) -> None:
    """Labels by name in nephra's numbers, spacing, channels, and a digest."""
    described = load_bundle(make_bundle("vessel")).describe()
    assert described.labels == {"kidney": 200, "artery": 203, "vein": 204}
    assert described.channels == [["A"], ["P"]]
    assert described.spacing_mm == [3.0, 3.0, 3.0]
    assert len(described.digest) == 64


@pytest.mark.parametrize("name", ["plans.json", "fold_0/checkpoint_final.pth"])
def test_a_changed_file_is_found_by_its_sha256(name: str, make_bundle: MakeBundle) -> None:
    """One byte more is enough."""
    folder = make_bundle()
    (folder / name).write_bytes((folder / name).read_bytes() + b"\n")
    with pytest.raises(BundleInvalid, match="sha256 differs"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"labels": {"kidney": 200}}, "no number to the classes: tumor"),
        ({"labels": {"kidney": 200, "tumor": 201, "wing": 5}}, "does not have: wing"),
        ({"labels": {"kidney": 200, "tumor": 999}}, "does not have: 999"),
        ({"channels": ["A", "P"]}, "lists 2 channels"),
        ({"task": "vessel", "channels": ["D"]}, "takes none of them"),
        ({"folds": [0, 1]}, "no sha256 of fold_1"),
        ({"files": {"plans.json": "0" * 64}}, "lists no sha256"),
        ({"orientation": "XYZ"}, "orientation 'XYZ'"),
        ({"checkpoint": "../../secret.pth"}, "leads out"),
        ({"colour": "red"}, "colour"),
        ({"task": "hair"}, "task"),
    ],
)
def test_what_the_manifest_gets_wrong_is_said(
    members: dict[str, Any], said: str, make_bundle: MakeBundle
) -> None:
    """Each mistake has its sentence."""
    folder = make_bundle()
    _edit_manifest(folder, **members)
    with pytest.raises(BundleInvalid, match=said):
        load_bundle(folder)


def _alter(
    folder: Path, tiny: Any, change: Callable[[dict[str, Any]], None], fold: int = 0
) -> None:
    """Change a fold's tensors, and seal the bundle again."""
    path = folder / f"fold_{fold}" / "checkpoint_final.pth"
    tensors = dict(read_checkpoint(path).weights(read_checkpoint(path).tensors))
    change(tensors)
    tiny.checkpoint(path, tensors)
    manifest = yaml.safe_load((folder / "bundle.yaml").read_text())
    manifest.pop("files")
    tiny.seal(folder, **manifest)


def _set(**members: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document["configurations"]["3d_fullres"].update(members)

    return change


def _drop(document: dict[str, Any]) -> None:
    document["configurations"]["3d_lowres"] = document["configurations"].pop("3d_fullres")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_set(previous_stage="3d_lowres"), "cascade"),
        (_set(patch_size=[32, 32]), "2D networks"),
        (_set(preprocessor_name="Own"), "preprocessor 'Own'"),
        (_set(normalization_schemes=["RGBTo01Normalization"]), "RGBTo01Normalization"),
        (_set(resampling_fn_data="resample_torch_simple"), "resample_torch_simple"),
        (_set(inherits_from="3d_fullres"), "no usable configuration"),
        (_drop, "they hold: 3d_lowres"),
        (lambda d: d.pop("foreground_intensity_properties_per_channel"), "no intensities"),
        (lambda d: d.update(transpose_forward=[0, 1]), "three axes"),
    ],
)
def test_plans_that_cannot_be_followed_are_refused(
    change: Callable[[dict[str, Any]], None], said: str, make_bundle: MakeBundle, tiny: Any
) -> None:
    """Cascades, 2D, unknown steps: a sentence each, when loaded and not at the first patient."""
    folder = make_bundle()
    _edit(folder, "plans.json", change, tiny)
    with pytest.raises(BundleInvalid, match=said):
        load_bundle(folder)


def test_weights_of_another_network_are_refused(make_bundle: MakeBundle, tiny: Any) -> None:
    """Shapes are compared before anything is built."""
    folder = make_bundle()

    def widen(document: dict[str, Any]) -> None:
        network = document["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
        network["features_per_stage"] = [4, 6, 10]

    _edit(folder, "plans.json", widen, tiny)
    with pytest.raises(BundleInvalid, match="checkpoint holds"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("encoder.stages.0.0.convs.0.norm.running_mean", "norm.running_mean"),
        ("encoder.stages.0.0.convs.0.all_modules.1.running_var", "norm.running_var"),
        ("attention.0.weight", "attention.0.weight"),
        ("decoder.seg_layers.2.weight", "decoder.seg_layers.2.weight"),
    ],
)
def test_tensors_that_the_plans_do_not_explain_are_refused(
    name: str, said: str, make_bundle: MakeBundle, tiny: Any
) -> None:
    """A batch normalisation trainer's network, or somebody's own, is another network."""
    folder = make_bundle()
    _alter(folder, tiny, lambda tensors: tensors.update({name: np.ones(4, np.float32)}))
    with pytest.raises(BundleInvalid, match=rf"{said}' that the plans do not explain.*nnUNetTr"):
        load_bundle(folder)


def test_the_second_names_and_coarse_outputs_of_training_are_known(
    make_bundle: MakeBundle, tiny: Any
) -> None:
    """What every checkpoint of nnU-Net holds beside what inference needs."""
    folder = make_bundle()

    def repeat(tensors: dict[str, Any]) -> None:
        conv, norm = "convs.0.conv.weight", "convs.0.norm.bias"
        for stage in ("encoder.stages.0.0.", "decoder.stages.0."):
            tensors[f"{stage}convs.0.all_modules.0.weight"] = tensors[stage + conv]
            tensors[f"{stage}convs.0.all_modules.2.bias"] = tensors[stage + norm]
        tensors["decoder.encoder.stages.0.0." + conv] = tensors["encoder.stages.0.0." + conv]
        tensors["decoder.seg_layers.0.weight"] = np.ones((3, 6, 1, 1, 1), np.float32)

    _alter(folder, tiny, repeat)
    assert load_bundle(folder).name == "tumor"


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_numbers_are_refused(
    value: float, make_bundle: MakeBundle, tiny: Any
) -> None:
    """A training that diverged is found before anything is compiled, with the tensor's name."""
    folder = make_bundle(folds=2)

    def spoil(tensors: dict[str, Any]) -> None:
        spoilt = tensors["decoder.seg_layers.1.bias"].copy()
        spoilt[1] = value
        tensors["decoder.seg_layers.1.bias"] = spoilt

    _alter(folder, tiny, spoil, fold=1)
    with pytest.raises(BundleInvalid, match=r"'decoder.seg_layers.1.bias' holds 1 values"):
        load_bundle(folder).weights()


def test_folds_of_different_configurations_are_refused(make_bundle: MakeBundle, tiny: Any) -> None:
    """Averaging networks that saw different spacings means nothing."""
    folder = make_bundle(folds=2)
    path = folder / "fold_1" / "checkpoint_final.pth"
    tensors = read_checkpoint(path).weights(read_checkpoint(path).tensors)
    tiny.checkpoint(path, tensors, "3d_lowres")
    _edit(folder, "dataset.json", lambda document: None, tiny)
    with pytest.raises(BundleInvalid, match="3d_fullres, 3d_lowres"):
        load_bundle(folder)


def test_a_patch_that_cannot_be_halved_is_refused(make_bundle: MakeBundle, tiny: Any) -> None:
    """Before the network is built, with the sides that would do."""
    folder = make_bundle()
    _edit(folder, "plans.json", _set(patch_size=[16, 18, 16]), tiny)
    with pytest.raises(BundleInvalid, match=r"multiples of \[2, 4, 4\]"):
        load_bundle(folder)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("plans.json", lambda d: d.update(configurations=3), "of the kind"),
        ("plans.json", lambda d: d["configurations"]["3d_fullres"].pop("spacing"), "'spacing'"),
        ("plans.json", _set(spacing="wide"), "of the kind"),
        ("plans.json", _set(architecture={"network_class_name": "PlainConvUNet"}), "'arch_kwargs'"),
        ("dataset.json", lambda d: d.pop("labels"), "'labels'"),
        ("dataset.json", lambda d: d.update(channel_names="CT"), "no channels"),
    ],
)
def test_documents_with_holes_are_refused(
    name: str,
    change: Callable[[dict[str, Any]], None],
    said: str,
    make_bundle: MakeBundle,
    tiny: Any,
) -> None:
    """Named with what is missing; never a KeyError."""
    folder = make_bundle()
    _edit(folder, name, change, tiny)
    with pytest.raises(BundleInvalid, match=said):
        load_bundle(folder)


def test_all_folds_in_one_may_be_a_fold(make_bundle: MakeBundle, tiny: Any) -> None:
    """`fold_all` is trained on every case."""
    folder = make_bundle()
    (folder / "fold_0").rename(folder / "fold_all")
    tiny.seal(folder, name="tumor", task="tumor", channels=["A"], folds=["all"],
              labels={"kidney": 200, "tumor": 201})  # fmt: skip
    assert load_bundle(folder).checkpoints[0].path.parent.name == "fold_all"


def test_configurations_may_inherit(make_bundle: MakeBundle, tiny: Any) -> None:
    """`inherits_from` fills in what is left out."""
    folder = make_bundle()

    def inherit(document: dict[str, Any]) -> None:
        base = document["configurations"].pop("3d_fullres")
        document["configurations"]["base"] = base
        document["configurations"]["3d_fullres"] = {"inherits_from": "base", "batch_size": 4}

    _edit(folder, "plans.json", inherit, tiny)
    assert load_bundle(folder).plans.patch == (16, 16, 16)


def test_missing_and_unreadable_documents_are_named(make_bundle: MakeBundle) -> None:
    """No bundle.yaml, or one that is no YAML."""
    folder = make_bundle()
    (folder / "bundle.yaml").write_text("a: [")
    with pytest.raises(BundleInvalid, match="not YAML"):
        load_bundle(folder)
    (folder / "bundle.yaml").unlink()
    with pytest.raises(BundleInvalid, match="has no bundle"):
        load_bundle(folder)


@pytest.mark.parametrize("regions", [False, True])
def test_as_many_outputs_as_a_byte_has_numbers_run(
    regions: bool, make_bundle: MakeBundle, tiny: Any
) -> None:
    """The last of 255 outputs is written like the first, as a class and as a region."""
    pytest.importorskip("openvino", reason="openvino is not installed")
    count = MAX_HEADS if regions else MAX_HEADS - 1
    classes = [f"c{n}" for n in range(count)]
    dataset = tiny.dataset(dict.fromkeys(classes, 0))
    if regions:
        dataset["labels"]["c0"] = [1, 2]
        dataset["regions_class_order"] = list(range(1, count + 1))
    labels = {**dict.fromkeys(classes, 5), classes[-1]: 200}
    folder = make_bundle("tumor", dataset=dataset, labels=labels)

    def decide(tensors: dict[str, Any]) -> None:
        bias = np.full(MAX_HEADS, -1e4, np.float32)
        bias[-1] = 1e4
        tensors["decoder.seg_layers.1.bias"] = bias

    _alter(folder, tiny, decide)
    bundle = load_bundle(folder)
    engine = Engine({bundle.name: bundle}, {}, open_backend("openvino", 1, "cpu"))
    images = [Image(tiny.ct((20, 20, 20)), "ct")]
    made, _ = engine.predict(bundle, images, Preparations(ByteCache(0)), False, Progress())
    assert set(np.unique(made.voxels)) == {200}
