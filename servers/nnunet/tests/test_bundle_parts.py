from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from nephra_contract.errors import BundleInvalid
from nephra_contract.progress import Progress
from nephra_nnunet.backends import open_backend
from nephra_nnunet.bundle import Bundle, load_bundle
from nephra_nnunet.cache import ByteCache
from nephra_nnunet.engine import Engine
from nephra_nnunet.preparation import Image, Preparations

MakeBundle = Callable[..., Path]


def write_whole(folder: Path, parts: list[str], **manifest: Any) -> None:
    """Write the `bundle.yaml` of a whole, with the sha256 of its parts'."""
    files = {}
    for part in (p for p in parts if (folder / p / "bundle.yaml").is_file()):
        content = (folder / part / "bundle.yaml").read_bytes()
        files[f"{part}/bundle.yaml"] = hashlib.sha256(content).hexdigest()
    said = {"name": folder.name, "task": "totalseg", "channels": [["A", "P", "D"]], "parts": parts}
    (folder / "bundle.yaml").write_text(yaml.safe_dump({**said, "files": files, **manifest}))


@pytest.fixture
def whole(make_bundle: MakeBundle, tiny: Any) -> Path:
    """A bundle of two parts: organs (liver, kidney), and vessels (liver again, aorta)."""
    folder = make_bundle("totalseg", "whole/organs", seed=1).parent
    make_bundle(
        "totalseg", "whole/vessels", seed=2, dataset=tiny.dataset({"liver": 0, "aorta": 0}),
        labels={"liver": 5, "aorta": 52},
    )  # fmt: skip
    write_whole(folder, ["organs", "vessels"])
    return folder


def test_a_whole_has_its_parts_in_order(whole: Path) -> None:
    """Each part keeps its own network; the whole says the labels of all."""
    bundle = load_bundle(whole)
    assert [part.folder.name for part in bundle.parts] == ["organs", "vessels"]
    assert [part.numbers for part in bundle.parts] == [(0, 5, 200), (0, 5, 52)]
    described = bundle.describe()
    assert (described.name, described.task) == ("whole", "totalseg")
    assert described.labels == {"liver": 5, "kidney": 200, "aorta": 52}


def test_a_single_network_is_its_own_only_part(make_bundle: MakeBundle) -> None:
    """Whoever runs parts runs single bundles too."""
    bundle = load_bundle(make_bundle("tumor"))
    assert bundle.parts == (bundle,)


def test_one_class_with_two_numbers_is_told_apart(whole: Path, make_bundle: MakeBundle) -> None:
    """The description hides neither."""
    make_bundle("totalseg", "whole/more", labels={"liver": 6, "kidney": 200})
    write_whole(whole, ["organs", "more"])
    assert load_bundle(whole).describe().labels == {"liver": 5, "kidney": 200, "more/liver": 6}


def test_the_digest_covers_every_file_of_every_part(whole: Path, tiny: Any) -> None:
    """Another weight in a part is found, and sealed again it is another bundle."""
    before = load_bundle(whole).digest
    weights = whole / "vessels" / "fold_0" / "checkpoint_final.pth"
    weights.write_bytes(weights.read_bytes() + b"\0")
    with pytest.raises(BundleInvalid, match=r"'vessels' cannot be used.*sha256 differs"):
        load_bundle(whole)
    manifest = yaml.safe_load((whole / "vessels" / "bundle.yaml").read_text())
    manifest.pop("files")
    tiny.seal(whole / "vessels", **manifest)
    with pytest.raises(BundleInvalid, match=r"vessels/bundle\.yaml is not the one"):
        load_bundle(whole)
    write_whole(whole, ["organs", "vessels"])
    assert load_bundle(whole).digest != before


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"parts": ["organs", "gone"]}, "no sha256 of gone"),
        ({"parts": ["organs", "organs"]}, "named twice"),
        ({"parts": ["../organs"]}, "parts.0"),
        ({"parts": [], "files": {}}, "either 'labels'"),
        ({"labels": {"liver": 5}}, "either 'labels'"),
        ({"task": "tumor"}, "says task totalseg, the whole bundle tumor"),
        ({"channels": ["A"]}, "says channels"),
        (
            {"precision": "bfloat16", "metrics": {"bfloat16": {}}},
            "says precision float32, the whole bundle bfloat16",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(members: dict[str, Any], said: str, whole: Path) -> None:
    """Each disagreement has its sentence."""
    write_whole(whole, **{"parts": ["organs", "vessels"], **members})
    with pytest.raises(BundleInvalid, match=said):
        load_bundle(whole)


def test_parts_have_no_parts(whole: Path) -> None:
    """One level is enough for every published model; deeper ones are refused, not ignored."""
    outer = whole.parent / "outer"
    outer.mkdir()
    whole.rename(outer / "whole")
    write_whole(outer, ["whole"])
    with pytest.raises(BundleInvalid, match="made of parts itself"):
        load_bundle(outer)


def test_later_parts_are_written_over_earlier_ones(whole: Path, tiny: Any) -> None:
    """The whole's labels are its parts' labels, laid over each other in order."""
    pytest.importorskip("openvino", reason="openvino is not installed")
    bundle = load_bundle(whole)
    engine = Engine({bundle.name: bundle}, {}, open_backend("openvino", 1, "cpu"))
    images = [Image(tiny.ct(), "ct")]

    def labels(which: Bundle) -> NDArray[np.uint8]:
        made = Preparations(ByteCache(0))
        return engine.predict(which, images, made, mirroring=False, progress=Progress())[0].voxels

    first, second = (labels(part) for part in bundle.parts)
    assert np.count_nonzero(second) not in {0, second.size}
    assert np.count_nonzero((first > 0) & (second > 0) & (first != second)) > 0
    assert np.array_equal(labels(bundle), np.where(second > 0, second, first))
