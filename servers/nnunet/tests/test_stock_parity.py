"""Labels against stock nnU-Net's own predictor, on every shape of bundle; see `make stock`.

Stock adds up its tiles in half precision, which alone moves labels. So it runs twice here: as it
is, and with sums in single precision, and is held against itself. Against the latter, labels may
differ only where stock's own logits are tied to rounding.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from nephra_contract.progress import Progress
from nephra_contract.testing.orientation import Orientation, reorient
from nephra_contract.volume import Volume
from nephra_nnunet.architecture import read_architecture
from nephra_nnunet.backends import BackendName, open_backend
from nephra_nnunet.bench.agreement import agree
from nephra_nnunet.bench.models import open_model
from nephra_nnunet.bench.ours import as_the_dataset
from nephra_nnunet.bench.stock import SinglePrecision
from nephra_nnunet.bundle import load_bundle
from nephra_nnunet.cache import ByteCache
from nephra_nnunet.dataset import read_heads
from nephra_nnunet.engine import Engine
from nephra_nnunet.plans import Heads
from nephra_nnunet.preparation import Image, Preparations
from nephra_nnunet.reader import Reader

pytestmark = [
    pytest.mark.stock,
    # What stock itself warns of when it reads old plans.
    pytest.mark.filterwarnings("ignore:Detected old nnU-Net plans format:UserWarning"),
    pytest.mark.filterwarnings("ignore:Network class .* not found:UserWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning"),
]

Labels = NDArray[np.uint8]

#: Two logits closer than this part of all logits' spread are tied: float32 has 1e-7 of a number,
#: and a network adds up thousands.
_TIE = 1e-5
_MAX_DIFFER = 1e-5
_MIN_DICE = 0.9995
#: From stock as it is, with models whose logits are decided.
_MAX_DECIDED_DIFFER = 2e-4
_THREADS = 1
_MANY = 10


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
        box = tuple(slice(*span) for span in seen["properties"]["bbox_used_for_cropping"])
        forward = predictor.plans_manager.transpose_forward
        return Answer(
            labels, as_it_is, np.asarray(seen["logits"]), lambda m: m.transpose(forward)[box]
        )

    def _run(
        self, predictor: Any, reader: Any, images: Sequence[Path], torch: Any
    ) -> tuple[Labels, dict[str, Any]]:
        """(K, J, I) labels; and the logits and properties that stock made them of."""
        seen: dict[str, Any] = {}
        name = "convert_predicted_logits_to_segmentation_with_correct_shape"
        export = getattr(self.module, name)
        decide = predictor.label_manager.convert_logits_to_segmentation

        def spy_on_export(logits: Any, *given: Any, **named: Any) -> Any:
            seen["properties"] = given[3]
            return export(logits, *given, **named)

        def spy_on_decision(logits: Any) -> Any:
            seen["logits"] = logits
            return decide(logits)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.module, "torch", torch)
            patch.setattr(self.module, name, spy_on_export)
            patch.setattr(
                predictor.label_manager, "convert_logits_to_segmentation", spy_on_decision
            )
            image, properties = reader.read_images([str(p) for p in images])
            labels = predictor.predict_single_npy_array(image, properties)
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
_M = {
    "features_per_stage": [4, 6, 8, 10, 10],
    "n_blocks_per_stage": [1, 3, 4, 6, 6],
    "kernel_sizes": [[3, 3, 3]] * 5,
    "n_conv_per_stage_decoder": [1] * 4,
}
_FLAT = ((1, 1, 1), (1, 2, 2), *((2, 2, 2),) * 4)
_L = {
    "features_per_stage": [4, 6, 8, 10, 10, 10],
    "n_blocks_per_stage": [1, 3, 4, 6, 6, 6],
    "kernel_sizes": [[1, 3, 3], *[[3, 3, 3]] * 5],
    "n_conv_per_stage_decoder": [1] * 5,
}
_DOUBLING = {"features_per_stage": [4, 8, 12]}

CASES = {
    "plain": Case(),
    "plain, old plans": Case({"network": _DOUBLING}, old=True),
    "residual": Case({"kind": "residual"}),
    "residual, old plans": Case({"kind": "residual", "network": _DOUBLING}, old=True),
    "residual M": Case({"kind": "residual", "strides": _HALVING, "network": _M}, seed=7),
    "residual L": Case(
        {"kind": "residual", "strides": _FLAT, "network": _L, "patch": (32, 64, 64)}, seed=5
    ),
    "three folds": Case(folds=3),
    "two folds of a residual": Case({"kind": "residual"}, folds=2),
    "mirroring": Case(mirroring=True),
    "mirroring, two folds": Case(folds=2, mirroring=True, shape=(64, 72, 60)),
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
    "regions": Case(labels=_REGIONS, more={"regions_class_order": [1, 2, 3]}, border=4, seed=7),
    "regions, coarse": Case(
        {"spacing": (8.0, 2.2, 2.1)},
        labels=_REGIONS, more={"regions_class_order": [3, 1, 2]}, seed=7,
    ),
    "an ignore label": Case(labels={"kidney": 1, "tumor": 2, "ignore": 3}),
    "regions and an ignore label": Case(
        labels={**_REGIONS, "ignore": 4}, more={"regions_class_order": [1, 2, 3]}, seed=7
    ),
    "smaller than a tile": Case({"patch": (64, 64, 64)}, shape=(40, 112, 50)),
    "smaller than a tile along all axes": Case({"patch": (64, 64, 64)}, shape=(60, 50, 40)),
    "118 outputs": Case(labels={f"part_{n}": n for n in range(1, 118)}, seed=8),
    "118 outputs, coarse, mirrored": Case(
        {"spacing": (8.0, 2.2, 2.1)},
        labels={f"part_{n}": n for n in range(1, 118)}, mirroring=True, shape=(64, 72, 60),
    ),
    "118 outputs, two folds": Case(
        labels={f"part_{n}": n for n in range(1, 118)}, folds=2, shape=(64, 72, 60)
    ),
}  # fmt: skip


def scan(case: Case, seed: int) -> Volume:
    """A body with organs whose density changes slowly, in air.

    Where a border is asked for, zeros surround it in a rounded shape, so that a part of the
    box of what is not zero is still zero.
    """
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
    if case.border:
        voxels[i**2 + j**2 + 0.2 * k**2 > 0.9] = 0
    affine = np.diag([*case.spacing, 1.0])
    affine[:3, 3] = [-90, -100, -120]
    return Volume(voxels, affine)


def train(folder: Path, case: Case, tiny: Any) -> Heads:
    """Write a folder as training leaves it, with random weights; gives its outputs."""
    plans = tiny.plans(**{"patch": (32, 32, 32), "spacing": (4.0, 4.0, 4.0), **case.plans})
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
    close, far = agree(ours, answer.labels), agree(ours, answer.as_it_is)
    itself = agree(answer.labels, answer.as_it_is)
    print(  # shown by `pytest -s`
        f"{close.differ} of {close.voxels} differ from single-precision sums, {far.differ} from "
        f"stock as it is, which differs from itself by {itself.differ}"
    )
    assert unexplained(ours, answer, heads) == 0
    assert close.fraction <= _MAX_DIFFER
    assert close.mean_dice >= _MIN_DICE
    assert far.fraction <= itself.fraction + _MAX_DIFFER


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


def test_only_ties_explain_a_difference() -> None:
    """The yardstick itself: a label that is wrong where logits are decided is found."""
    logits = np.zeros((3, 1, 1, 4), dtype=np.float32)
    logits[1] = [[1, 1e-6, 5, 1]]
    stocks = np.array([[[1, 1, 1, 1]]], dtype=np.uint8)
    answer = Answer(stocks, stocks, logits, lambda labels: labels)
    heads = Heads(("background", "a", "b"), (0, 1, 2), regions=False)
    for place, wrong in enumerate([1, 0, 1, 1]):
        ours = stocks.copy()
        ours[0, 0, place] = 2
        assert unexplained(ours, answer, heads) == wrong
    regions = Heads(("a", "b", "c"), (1, 2, 3), regions=True)
    decided = Answer(stocks, stocks, logits - 2, lambda labels: labels)
    assert unexplained(stocks + 1, decided, regions) == 4


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
    # So many random outputs of so few features cannot all win somewhere.
    assert len(present) >= min(len(possible), _MANY)
    for backend in ("openvino", "torch"):
        work = tmp_path / backend
        check(segment(tmp_path / "trained", images, case.mirroring, backend, work), answer, heads)


@pytest.mark.parametrize("name", ["plain", "plain, old plans", "residual M", "residual L"])
def test_checkpoints_are_read_as_pytorch_writes_them(
    name: str, stock: Stock, tiny: Any, tmp_path: Path
) -> None:
    """The trainer's whole checkpoint, optimiser and all; its mirror axes are kept to."""
    case, folder = CASES[name], tmp_path / "trained"
    heads = train(folder, case, tiny)
    write_as_the_trainer(folder, case, len(heads.names), stock.torch)
    tiny.save(tmp_path / "0.nii.gz", scan(replace(case, shape=(64, 72, 60)), 0))
    answer = stock.predict(folder, [tmp_path / "0.nii.gz"], mirroring=True)
    assert np.unique(answer.labels).size > 1
    ours = segment(folder, [tmp_path / "0.nii.gz"], True, "openvino", tmp_path)
    check(ours, answer, heads)


def write_as_the_trainer(folder: Path, case: Case, heads: int, torch: Any) -> None:
    """Put a network of nnU-Net's own making, saved as its trainer saves it, into fold 0."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans = json.loads((folder / "plans.json").read_text())
    dataset = json.loads((folder / "dataset.json").read_text())
    configuration = PlansManager(plans).get_configuration("3d_fullres")
    torch.manual_seed(case.seed)
    network = get_network_from_plans(
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
        case.channels,
        heads,
        allow_init=True,
        deep_supervision=True,
    )
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.99, nesterov=True)
    for parameter in network.parameters():
        # A step as after a first batch: norms and biases leave their initial 1 and 0.
        parameter.grad = 20 * torch.randn_like(parameter) * (parameter.ndim == 1)
    optimizer.step()
    checkpoint = {
        "network_weights": network.state_dict(),
        "optimizer_state": optimizer.state_dict(),
        "grad_scaler_state": torch.amp.GradScaler("cpu").state_dict(),
        "logging": {"mean_fg_dice": [np.float64(0.5)], "epoch_end_timestamps": [1.5]},
        "_best_ema": np.float64(0.5),
        "current_epoch": 1000,
        "init_args": {"plans": plans, "configuration": "3d_fullres", "fold": 0,
                      "dataset_json": dataset, "device": torch.device("cuda")},
        "trainer_name": "nnUNetTrainer",
        "inference_allowed_mirroring_axes": (0, 1),
    }  # fmt: skip
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")


REAL = {
    "ts_example_ct.nii.gz": Case({"spacing": (4.0, 4.0, 4.0)}, seed=2),
    "cptac_C3L-00189.nii.gz": Case({"spacing": (5.0, 2.5, 2.5), "patch": (16, 64, 64)}),
}


@pytest.mark.real_data
@pytest.mark.parametrize("name", REAL)
def test_real_scans_get_the_labels_of_stock(
    name: str, stock: Stock, tiny: Any, real_data: Path, tmp_path: Path
) -> None:
    """Real densities, noise and padding; with both backends."""
    heads = train(tmp_path / "trained", REAL[name], tiny)
    image = real_data / "ct" / name
    answer = stock.predict(tmp_path / "trained", [image], mirroring=False)
    assert np.unique(answer.labels).size > 1
    for backend in ("openvino", "torch"):
        work = tmp_path / backend
        check(segment(tmp_path / "trained", [image], False, backend, work), answer, heads)


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["totalseg", "tumor", "ureter", "vessel"])
def test_trained_models_get_the_labels_of_stock(
    name: str, stock: Stock, real_data: Path, tmp_path: Path
) -> None:
    """The demo's models, whose logits are decided, on a part of a real scan."""
    folder = Path(__file__).resolve().parents[3] / "bundles" / name
    bundle = load_bundle(folder)
    images = [real_data / "ct" / "ts_example_ct_sm.nii.gz"] * len(bundle.manifest.channels)
    answer = stock.predict(folder, images, mirroring=False)
    assert np.unique(answer.labels).size > 1
    ours = segment(folder, images, False, "openvino", tmp_path)
    check(ours, answer, bundle.heads)
    assert agree(ours, answer.as_it_is).fraction <= _MAX_DECIDED_DIFFER


@pytest.mark.parametrize("reader", ["NibabelIO", "NibabelIOWithReorient"])
@pytest.mark.parametrize(
    "stored", [((0, 1, 2), (True, True, False)), ((2, 1, 0), (False, False, True))]
)
def test_images_are_read_as_stocks_readers_read_them(
    reader: str, stored: Orientation, stock: Stock, tiny: Any, tmp_path: Path
) -> None:
    """However the axes are stored, the written mask has the labels that stock writes."""
    case, folder = Case(shape=(64, 72, 60)), tmp_path / "trained"
    train(folder, case, tiny)
    plans = json.loads((folder / "plans.json").read_text())
    (folder / "plans.json").write_text(json.dumps({**plans, "image_reader_writer": reader}))
    image = reorient(scan(case, 0), stored)
    tiny.save(tmp_path / "0.nii.gz", image)
    predictor = stock.module.nnUNetPredictor(
        device=stock.torch.device("cpu"), use_mirroring=False, allow_tqdm=False,
        perform_everything_on_device=False,
    )  # fmt: skip
    predictor.initialize_from_trained_model_folder(str(folder), (0,), "checkpoint_final.pth")
    stocks = predictor.plans_manager.image_reader_writer_class()
    voxels, properties = stocks.read_images([str(tmp_path / "0.nii.gz")])
    labels = predictor.predict_single_npy_array(voxels, properties)
    stocks.write_seg(labels, str(tmp_path / "stock.nii.gz"), properties)
    written = Reader().read(tmp_path / "stock.nii.gz")
    assert written.same_grid(image)
    ours = segment(folder, [tmp_path / "0.nii.gz"], False, "openvino", tmp_path)
    assert np.unique(ours).size > 1
    # Stock as it is, with its sums in half precision, so that ties differ.
    assert agree(ours, np.asarray(written.voxels.T, dtype=np.uint8)).fraction < 5e-3
