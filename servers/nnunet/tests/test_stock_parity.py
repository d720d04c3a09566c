"""Labels against nnU-Net's own predictor; runs where torch and nnunetv2 are installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nephra_contract.progress import Progress
from nephra_nnunet.backends import open_backend
from nephra_nnunet.engine import open_engine
from nephra_nnunet.preparation import Image, Preparations
from nephra_nnunet.reader import Reader

MakeBundle = Callable[..., Path]


class _Float32:
    """The module torch, but sums that stock keeps in half precision are kept in single."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._torch, name)

    def zeros(self, *shape: Any, dtype: Any = None, **more: Any) -> Any:
        """`torch.zeros`, never in half precision."""
        single = self._torch.float32 if dtype == self._torch.half else dtype
        return self._torch.zeros(*shape, dtype=single, **more)


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch) -> Callable[..., NDArray[Any]]:
    """Runs stock nnU-Net: bundle, paths → (I, J, K) numbers of the dataset."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", ".")
    module = pytest.importorskip(
        "nnunetv2.inference.predict_from_raw_data", reason="nnunetv2 is not installed"
    )
    monkeypatch.setattr(module, "torch", _Float32(torch))
    # Test checkpoints hold what inference needs, and not the heads of deep supervision.
    load = torch.nn.Module.load_state_dict
    monkeypatch.setattr(
        torch.nn.Module, "load_state_dict", lambda net, state, **_: load(net, state, strict=False)
    )

    def predict(folder: Path, paths: list[Path], mirroring: bool, folds: int) -> NDArray[Any]:
        predictor = module.nnUNetPredictor(
            device=torch.device("cpu"), use_mirroring=mirroring, allow_tqdm=False
        )
        predictor.initialize_from_trained_model_folder(
            str(folder), tuple(range(folds)), "checkpoint_final.pth"
        )
        reader = predictor.plans_manager.image_reader_writer_class()
        image, properties = reader.read_images([str(p) for p in paths])
        numbers = predictor.predict_single_npy_array(image, properties)
        return np.asarray(numbers).T

    return predict


@pytest.mark.parametrize("backend", ["openvino", "torch"])
@pytest.mark.parametrize(
    ("plans", "options"),
    [
        ({}, {}),
        ({}, {"mirroring": True}),
        ({}, {"folds": 2}),
        ({"scheme": "ZScoreNormalization"}, {}),
        ({"scheme": "RescaleTo01Normalization"}, {}),
        ({"scheme": "NoNormalization"}, {}),
        ({"transpose": (2, 0, 1), "spacing": (2.5, 3.1, 2.2)}, {}),
        ({"spacing": (8.0, 2.2, 2.1)}, {}),
        ({"kind": "residual"}, {}),
        ({}, {"task": "vessel"}),
    ],
)
def test_labels_are_those_of_stock(
    backend: Any,
    plans: dict[str, Any],
    options: dict[str, Any],
    stock: Callable[..., NDArray[Any]],
    make_bundle: MakeBundle,
    data_folder: Path,
    tiny: Any,
) -> None:
    """All voxels but a few whose two best logits are equal to rounding."""
    if backend == "openvino":
        pytest.importorskip("openvino", reason="openvino is not installed")
    task, folds = options.get("task", "tumor"), options.get("folds", 1)
    mirroring = bool(options.get("mirroring"))
    channels = 2 if task == "vessel" else 1
    folder = make_bundle(task, plans=tiny.plans(channels, **plans), folds=folds)
    paths = [data_folder / f"{p}.nii.gz" for p in "AP"[:channels]]
    expected = stock(folder, paths, mirroring, folds)
    engine = open_engine(folder.parent, open_backend(backend, 1, "cpu"))
    bundle = engine.bundles[task]
    images = [Image(Reader().read(p), p) for p in paths]
    labels, _ = engine.predict(bundle, images, Preparations(), mirroring, Progress())
    numbers = np.array(bundle.numbers)[expected]
    assert np.count_nonzero(labels.voxels != numbers) <= 3e-4 * numbers.size
