from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from nephra_contract.errors import BundleInvalid
from nephra_nnunet.bundle import load_bundle
from nephra_nnunet.dataset import read_heads

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


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        ({"labels": {"kidney": 1}}, "background"),
        ({"labels": {"background": 0, "a": 1, "b": 3}}, "without gaps"),
        ({"labels": {"background": 0, "a": [1, 2], "b": 2}}, "regions_class_order"),
    ],
)
def test_labels_that_mean_nothing_are_refused(dataset: dict[str, Any], said: str) -> None:
    """Background, gaps, and regions without an order."""
    with pytest.raises(BundleInvalid, match=said):
        read_heads(dataset)


def test_an_ignore_label_is_no_output() -> None:
    """The network has no head for what was not annotated."""
    heads = read_heads({"labels": {"background": 0, "a": 1, "ignore": 2}})
    assert heads.names == ("background", "a")
