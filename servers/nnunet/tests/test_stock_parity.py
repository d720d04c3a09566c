"""Labels against stock nnU-Net's own predictor, on every shape of bundle; see `make stock`.

Stock adds up its tiles in half precision, which alone moves labels. So it runs twice here: as it
is, and with sums in single precision, and is held against itself. Against the latter, labels may
differ only where stock's own logits are tied to rounding.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from nephra_contract.progress import Progress
from nephra_contract.volume import Volume
from nephra_nnunet.architecture import read_architecture
from nephra_nnunet.backends import BackendName, open_backend
from nephra_nnunet.bench.agreement import agree
from nephra_nnunet.bench.models import open_model
from nephra_nnunet.bench.ours import as_the_dataset
from nephra_nnunet.bench.stock import SinglePrecision
from nephra_nnunet.cache import ByteCache
from nephra_nnunet.dataset import read_heads
from nephra_nnunet.engine import Engine
from nephra_nnunet.plans import Heads
from nephra_nnunet.preparation import Image, Preparations
from nephra_nnunet.reader import Reader

pytestmark = [pytest.mark.stock, pytest.mark.filterwarnings("default")]

Labels = NDArray[np.uint8]

#: Two logits closer than this part of all logits' spread are tied: float32 has 1e-7 of a number,
#: and a network adds up thousands.
_TIE = 1e-5
_MAX_DIFFER = 1e-5
_MIN_DICE = 0.9995
_THREADS = 2


@dataclass(frozen=True)
class Answer:
    """What stock makes of an image.

    Args:
        labels: (K, J, I), tiles summed in single precision.
        as_it_is: the same, summed in half precision.
        logits: (heads, a, b, c) at full resolution, cropped, in the network's axes, from sums in
            single precision.
        view: (K, J, I) → (a, b, c): brings labels to the logits' grid.
    """

    labels: Labels
    as_it_is: Labels
    logits: NDArray[np.float32]
    view: Callable[[Labels], Labels]


@dataclass(frozen=True)
class Stock:
    """Stock nnU-Net in this process."""

    torch: Any
    module: Any

    def predict(self, folder: Path, images: Sequence[Path], mirroring: bool) -> Answer:
        """Run a trained folder on an image, one file per channel."""
        predictor = self.module.nnUNetPredictor(
            device=self.torch.device("cpu"),
            use_mirroring=mirroring,
            allow_tqdm=False,
            perform_everything_on_device=False,
        )
        folds = tuple(int(p.name[5:]) for p in sorted(folder.glob("fold_*")))
        predictor.initialize_from_trained_model_folder(str(folder), folds, "checkpoint_final.pth")
        reader = predictor.plans_manager.image_reader_writer_class()
        as_it_is, _ = self._run(predictor, reader, images, self.torch)
        labels, seen = self._run(predictor, reader, images, SinglePrecision(self.torch))
        plans, properties = predictor.plans_manager, seen[1]
        box = tuple(slice(*span) for span in properties["bbox_used_for_cropping"])
        logits = predictor.configuration_manager.resampling_fn_probabilities(
            seen[0],
            properties["shape_after_cropping_and_before_resampling"],
            predictor.configuration_manager.spacing,
            [properties["spacing"][a] for a in plans.transpose_forward],
        )
        return Answer(
            labels,
            as_it_is,
            np.asarray(logits),
            lambda m: m.transpose(plans.transpose_forward)[box],
        )

    def _run(
        self, predictor: Any, reader: Any, images: Sequence[Path], torch: Any
    ) -> tuple[Labels, list[Any]]:
        """(K, J, I) labels; and the logits and properties that stock made them of."""
        seen: list[Any] = []
        name = "convert_predicted_logits_to_segmentation_with_correct_shape"
        convert = getattr(self.module, name)

        def spy(
            logits: Any, plans: Any, configuration: Any, labels: Any, found: Any, **m: Any
        ) -> Any:
            seen[:] = [logits.numpy().copy(), found]
            return convert(logits, plans, configuration, labels, found, **m)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.module, "torch", torch)
            patch.setattr(self.module, name, spy)
            labels = predictor.predict_single_npy_array(
                *reader.read_images([str(p) for p in images])
            )
        return np.asarray(labels, dtype=np.uint8), seen


@pytest.fixture(scope="module")
def stock() -> Stock:
    """Stock nnU-Net, imported once."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("raw", "preprocessed", "results"):
            patch.setenv(f"nnUNet_{name}", ".")
        import torch
        from nnunetv2.inference import predict_from_raw_data

        torch.set_num_threads(_THREADS)
    return Stock(torch, predict_from_raw_data)


@dataclass(frozen=True)
class Case:
    """One shape of bundle, and an image for it.

    Args:
        plans: arguments of `make_plans`.
        old: whether plans are in the old format.
        labels: of dataset.json, background aside.
        more: other members of dataset.json.
        folds: how many.
        seed: of the weights.
        mirroring: average mirrored predictions.
        shape, spacing, border: arguments of `scan`.
    """

    plans: Mapping[str, Any] = field(default_factory=dict)
    old: bool = False
    labels: Mapping[str, Any] = field(default_factory=lambda: {"kidney": 1, "tumor": 2})
    more: Mapping[str, Any] = field(default_factory=dict)
    folds: int = 1
    seed: int = 1
    mirroring: bool = False
    shape: tuple[int, int, int] = (96, 112, 80)
    spacing: tuple[float, float, float] = (2.0, 2.0, 3.0)
    border: int = 0

    @property
    def channels(self) -> int:
        """Of the image."""
        return int(self.plans.get("channels", 1))


_REGIONS = {"whole": [1, 2, 3], "inner": [2, 3], "core": [3]}
_MASKED = {"scheme": "ZScoreNormalization", "masked": True}
_HALVING = ((1, 1, 1), *((2, 2, 2),) * 4)
_M = {"features_per_stage": [4, 6, 8, 10, 10], "n_blocks_per_stage": [1, 3, 4, 6, 6],
      "kernel_sizes": [[3, 3, 3]] * 5, "n_conv_per_stage_decoder": [1] * 4}  # fmt: skip
_FLAT = ((1, 1, 1), (1, 2, 2), *((2, 2, 2),) * 4)
_L = {"features_per_stage": [4, 6, 8, 10, 10, 10], "n_blocks_per_stage": [1, 3, 4, 6, 6, 6],
      "kernel_sizes": [[1, 3, 3], *[[3, 3, 3]] * 5], "n_conv_per_stage_decoder": [1] * 5}  # fmt: skip
_DOUBLING = {"features_per_stage": [4, 8, 12]}

CASES = {
    "plain": Case(),
    "plain, old plans": Case({"network": _DOUBLING}, old=True),
    "residual": Case({"kind": "residual"}),
    "residual, old plans": Case({"kind": "residual", "network": _DOUBLING}, old=True),
    "residual M": Case({"kind": "residual", "strides": _HALVING, "network": _M}),
    "residual L": Case(
        {"kind": "residual", "strides": _FLAT, "network": _L, "patch": (32, 64, 64)}
    ),
    "three folds": Case(folds=3),
    "two folds of a residual": Case({"kind": "residual"}, folds=2),
    "mirroring": Case(mirroring=True),
    "mirroring, two folds": Case(folds=2, mirroring=True),
    "axes 2 0 1": Case({"transpose": (2, 0, 1), "spacing": (2.5, 3.1, 2.2)}),
    "axes 1 2 0": Case({"transpose": (1, 2, 0), "spacing": (2.6, 2.2, 3.0)}),
    "axes 0 2 1": Case({"transpose": (0, 2, 1), "spacing": (2.2, 2.6, 3.0)}),
    "axes 2 1 0": Case({"transpose": (2, 1, 0), "spacing": (3.0, 2.6, 2.2)}, border=5),
    "network coarse along its first axis": Case({"spacing": (8.0, 2.2, 2.1)}),
    "network coarse along its second axis": Case({"spacing": (2.2, 8.0, 2.1)}),
    "network coarse along its third axis": Case({"spacing": (2.2, 2.1, 8.0)}),
    "image coarse along z": Case(
        {"spacing": (2.2, 2.1, 2.3)}, shape=(96, 112, 24), spacing=(2.0, 2.0, 7.5)
    ),
    "image coarse along x": Case(
        {"spacing": (2.2, 2.1, 2.3)}, shape=(24, 112, 96), spacing=(7.5, 2.0, 2.0)
    ),
    "image coarse along y, axes turned": Case(
        {"transpose": (1, 2, 0), "spacing": (2.2, 2.1, 2.3)},
        shape=(96, 24, 112), spacing=(2.0, 7.5, 2.0),
    ),
    "both coarse": Case(
        {"spacing": (5.0, 1.9, 1.9)}, shape=(96, 112, 30), spacing=(1.5, 1.5, 6.0)
    ),
    "coarse, but never apart": Case({"spacing": (8.0, 2.2, 2.1), "apart": False}),
    "always apart": Case({"spacing": (3.4, 2.2, 2.1), "apart": True}),
    "only one axis resampled": Case({"spacing": (2.0, 2.0, 2.0)}),
    "nothing resampled": Case({"spacing": (3.0, 2.0, 2.0)}),
    "a spacing of one's own": Case({"spacing": (1.7, 2.9, 2.3)}),
    "z-score": Case({"scheme": "ZScoreNormalization"}, border=6),
    "z-score in the mask": Case(_MASKED, border=6),
    "z-score in the mask, coarse": Case({**_MASKED, "spacing": (8.0, 2.2, 2.1)}, border=6),
    "rescaled": Case({"scheme": "RescaleTo01Normalization"}, border=6),
    "not normalised": Case({"scheme": "NoNormalization"}, border=6),
    "two channels": Case({"channels": 2}),
    "three channels, each normalised its way": Case(
        {
            "channels": 3,
            "scheme": ["CTNormalization", "ZScoreNormalization", "RescaleTo01Normalization"],
            "masked": [False, True, False],
        },
        border=4,
    ),
    "regions": Case(labels=_REGIONS, more={"regions_class_order": [1, 2, 3]}, border=4, seed=3),
    "regions, coarse": Case(
        {"spacing": (8.0, 2.2, 2.1)},
        labels=_REGIONS, more={"regions_class_order": [3, 1, 2]}, seed=3,
    ),
    "an ignore label": Case(labels={"kidney": 1, "tumor": 2, "ignore": 3}),
    "regions and an ignore label": Case(
        labels={**_REGIONS, "ignore": 4}, more={"regions_class_order": [1, 2, 3]}, seed=3
    ),
    "smaller than a tile": Case({"patch": (64, 64, 64)}, shape=(40, 112, 50)),
    "smaller than a tile along all axes": Case({"patch": (64, 64, 64)}, shape=(60, 50, 40)),
    "118 outputs": Case(labels={f"part_{n}": n for n in range(1, 118)}),
    "118 outputs, coarse, mirrored": Case(
        {"spacing": (8.0, 2.2, 2.1)},
        labels={f"part_{n}": n for n in range(1, 118)}, mirroring=True,
    ),
    "118 outputs, two folds": Case(labels={f"part_{n}": n for n in range(1, 118)}, folds=2),
}  # fmt: skip


def scan(case: Case, seed: int) -> Volume:
    """A body with organs whose density changes slowly, in air, within a border of zeros."""
    draw = np.random.default_rng(seed)
    i, j, k = np.meshgrid(*(np.linspace(-1, 1, n) for n in case.shape), indexing="ij")
    hu = np.where(i**2 + j**2 < 0.8, 40.0, -1000.0)
    for side in (-0.45, 0.45):
        hu[((i - side) / 0.25) ** 2 + (j / 0.3) ** 2 + (k / 0.5) ** 2 < 1] = 180
    hu[(i / 0.1) ** 2 + ((j - 0.3) / 0.1) ** 2 < 1] = 300
    widths = [12.0 / s for s in case.spacing]
    texture = ndimage.gaussian_filter(draw.normal(0, 1, case.shape), widths)
    hu += 60 * texture / texture.std() + draw.normal(0, 8, case.shape)
    voxels = np.zeros(case.shape, dtype=np.int16, order="F")
    inner = tuple(slice(case.border, n - case.border) for n in case.shape)
    voxels[inner] = np.rint(hu)[inner]
    affine = np.diag([*case.spacing, 1.0])
    affine[:3, 3] = [-90, -100, -120]
    return Volume(voxels, affine)


def train(folder: Path, case: Case, tiny: Any) -> Heads:
    """Write a folder as training leaves it, with random weights; gives its outputs."""
    plans = tiny.plans(**{"patch": (32, 32, 32), **case.plans})
    plans = tiny.in_old_format(plans) if case.old else plans
    dataset = tiny.dataset({}, case.channels, **case.more)
    dataset["labels"] = {"background": 0, **case.labels}
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plans))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    heads: Heads = read_heads(dataset)
    configuration = plans["configurations"]["3d_fullres"]
    architecture = read_architecture(configuration, case.channels, len(heads.names))
    for fold in range(case.folds):
        path = folder / f"fold_{fold}" / "checkpoint_final.pth"
        weights = tiny.weights(architecture, case.seed + fold)
        tiny.checkpoint(path, weights, architecture=architecture)
    return heads


def segment(
    folder: Path, images: Sequence[Path], mirroring: bool, backend: BackendName, work: Path
) -> Labels:
    """Our labels of a trained folder, (K, J, I), as the dataset numbers them."""
    bundle = as_the_dataset(open_model(folder, None, work).folder)
    engine = Engine({bundle.name: bundle}, {}, open_backend(backend, _THREADS, "cpu"))
    read = [Image(Reader().read(p), p) for p in images]
    labels, _ = engine.predict(bundle, read, Preparations(ByteCache(0)), mirroring, Progress())
    return np.ascontiguousarray(labels.voxels.T)


def check(ours: Labels, answer: Answer, heads: Heads) -> None:
    """Hold our labels to what this project promises of them."""
    close = agree(ours, answer.labels)
    assert unexplained(ours, answer, heads) == 0
    assert close.fraction <= _MAX_DIFFER
    assert close.mean_dice >= _MIN_DICE
    allowed = agree(answer.labels, answer.as_it_is).fraction + _MAX_DIFFER
    assert agree(ours, answer.as_it_is).fraction <= allowed


def unexplained(ours: Labels, answer: Answer, heads: Heads) -> int:
    """How many voxels differ from stock's though stock's own logits are not tied there."""
    mine, stocks = answer.view(ours), answer.view(answer.labels)
    outside = np.count_nonzero(ours != answer.labels) - np.count_nonzero(mine != stocks)
    logits = answer.logits[:, mine != stocks].astype(np.float64)
    tie = _TIE * float(np.ptp(answer.logits))
    if heads.regions:
        return int(outside + np.count_nonzero(np.abs(logits).min(axis=0) > tie))
    chosen = np.take_along_axis(logits, mine[mine != stocks][None].astype(np.intp), axis=0)[0]
    return int(outside + np.count_nonzero(logits.max(axis=0) - chosen > tie))


@pytest.mark.parametrize("name", CASES)
def test_labels_are_those_of_stock(name: str, stock: Stock, tiny: Any, tmp_path: Path) -> None:
    """All voxels but ties, with both backends; and every label is there to be got wrong."""
    case = CASES[name]
    heads = train(tmp_path / "trained", case, tiny)
    images = [tmp_path / f"{c}.nii.gz" for c in range(case.channels)]
    for number, path in enumerate(images):
        tiny.save(path, scan(case, number))
    answer = stock.predict(tmp_path / "trained", images, case.mirroring)
    possible = {0, *heads.numbers}
    present = set(np.unique(answer.labels).tolist())
    assert present <= possible
    assert len(present) >= (len(possible) if len(possible) < 10 else len(possible) // 2)
    for backend in ("openvino", "torch"):
        work = tmp_path / backend
        check(segment(tmp_path / "trained", images, case.mirroring, backend, work), answer, heads)
