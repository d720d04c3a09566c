"""OpenVINO against the same network written with SciPy in double precision."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from nephra_nnunet.architecture import Architecture, Triple, read_architecture
from nephra_nnunet.backends import open_backend
from nephra_nnunet.head import split_off

Array = NDArray[np.float64]
Weights = dict[str, Array]
ONES = (1, 1, 1)


def convolve(x: Array, w: Weights, name: str, stride: Triple = ONES) -> Array:
    """(C, a, b, c) → (D, …): zero padded correlation, then every `stride`-th place."""
    kernel = w[f"{name}.weight"]
    out = np.zeros((kernel.shape[0], *x.shape[1:]))
    for d, c in product(*(range(n) for n in kernel.shape[:2])):
        out[d] += ndimage.correlate(x[c], kernel[d, c], mode="constant")
    if f"{name}.bias" in w:
        out += w[f"{name}.bias"][:, None, None, None]
    a, b, c = stride
    return out[:, ::a, ::b, ::c]


def normalise(x: Array, w: Weights, name: str, eps: float) -> Array:
    """Instance normalisation with weights."""
    mean = x.mean(axis=(1, 2, 3), keepdims=True)
    deviation = np.sqrt(x.var(axis=(1, 2, 3), keepdims=True) + eps)
    gain, offset = (w[f"{name}.{p}"][:, None, None, None] for p in ("weight", "bias"))
    return np.asarray((x - mean) / deviation * gain + offset)


def block(x: Array, w: Weights, name: str, stride: Triple = ONES) -> Array:
    """Convolution and normalisation."""
    return normalise(convolve(x, w, f"{name}.conv", stride), w, f"{name}.norm", 1e-5)


def rectify(x: Array) -> Array:
    """Leaky rectifier."""
    return np.where(x > 0, x, 0.01 * x)


def enlarge(x: Array, w: Weights, name: str) -> Array:
    """Transposed convolution with windows that do not overlap."""
    kernel, bias = w[f"{name}.weight"], w[f"{name}.bias"]
    made = np.einsum("cabz,cdijk->daibjzk", x, kernel)
    shape = [n * k for n, k in zip(x.shape[1:], kernel.shape[2:], strict=True)]
    return np.asarray(made.reshape(kernel.shape[1], *shape) + bias[:, None, None, None])


def pool(x: Array, window: Triple) -> Array:
    """Mean over windows."""
    (a, b, c), (i, j, k) = x.shape[1:], window
    return np.asarray(x.reshape(-1, a // i, i, b // j, j, c // k, k).mean(axis=(2, 4, 6)))


def encode(x: Array, w: Weights, net: Architecture) -> list[Array]:
    """The encoder's output at each stage."""
    skips = []
    if net.kind == "residual":
        x = rectify(block(x, w, "encoder.stem.convs.0"))
    for stage in range(net.stages):
        for depth in range(net.encoder_depths[stage]):
            stride = net.strides[stage] if depth == 0 else ONES
            if net.kind == "plain":
                x = rectify(block(x, w, f"encoder.stages.{stage}.0.convs.{depth}", stride))
                continue
            name = f"encoder.stages.{stage}.blocks.{depth}"
            y = block(rectify(block(x, w, f"{name}.conv1", stride)), w, f"{name}.conv2")
            x = pool(x, stride)
            for skip in (f"{name}.skip.0", f"{name}.skip.1"):
                if f"{skip}.conv.weight" in w:
                    x = block(x, w, skip)
            x = rectify(x + y)
        skips.append(x)
    return skips


def reference(image: NDArray[np.float32], weights: Any, net: Architecture) -> Array:
    """The whole network in double precision."""
    w = {n: v.astype(np.float64) for n, v in weights.items()}
    skips = encode(image.astype(np.float64), w, net)
    x = skips[-1]
    for step in range(net.stages - 1):
        x = np.concatenate([enlarge(x, w, f"decoder.transpconvs.{step}"), skips[-step - 2]])
        for depth in range(net.decoder_depths[step]):
            x = rectify(block(x, w, f"decoder.stages.{step}.convs.{depth}"))
    return convolve(x, w, f"decoder.seg_layers.{net.stages - 2}")


def _network(tiny: Any, kind: str, channels: int = 2) -> Architecture:
    configuration = tiny.plans(channels, kind=kind)["configurations"]["3d_fullres"]
    return read_architecture(configuration, channels, 3)


@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_the_network_computes_what_its_layers_say(kind: str, tiny: Any) -> None:
    """Logits agree with a double precision network to six digits of their range."""
    net = _network(tiny, kind)
    weights = tiny.weights(net, 3)
    image = np.random.default_rng(0).standard_normal((2, 8, 16, 12)).astype(np.float32)
    network = open_backend("openvino", 1, "cpu").load(net, [weights], (8, 16, 12))
    expected = reference(image, weights, net)
    logits = np.moveaxis(network.infer(image, ()), -1, 0)
    assert np.abs(logits - expected).max() < 1e-5 * np.abs(expected).max()


def test_mirrored_predictions_are_averaged(tiny: Any) -> None:
    """Over all combinations of the axes, each turned back."""
    net = _network(tiny, "plain")
    weights = tiny.weights(net, 3)
    image = np.random.default_rng(0).standard_normal((2, 8, 16, 12)).astype(np.float32)
    network = open_backend("openvino", 1, "cpu").load(net, [weights], (8, 16, 12))
    flips = [(), (1,), (3,), (1, 3)]
    single = [np.flip(reference(np.flip(image, f), weights, net), f) for f in flips]
    expected = np.mean(single, axis=0)
    logits = np.moveaxis(network.infer(image, (0, 2)), -1, 0)
    assert np.abs(logits - expected).max() < 1e-5 * np.abs(expected).max()


def test_normalisation_stays_exact_over_many_voxels() -> None:
    """A large offset over a large tile does not eat up the digits of the variance."""
    shape = (64, 96, 80)
    stem = Architecture(
        kind="plain", input_channels=1, heads=1, features=(16,), kernels=(ONES,), strides=(ONES,),
        encoder_depths=(1,), decoder_depths=(), conv_bias=False, norm_eps=1e-5,
        negative_slope=1.0, stem_features=1,
    )  # fmt: skip
    name = "encoder.stages.0.0.convs.0"
    weights = {
        f"{name}.conv.weight": np.ones((16, 1, 1, 1, 1), np.float32),
        f"{name}.norm.weight": np.ones(16, np.float32),
        f"{name}.norm.bias": np.zeros(16, np.float32),
        "decoder.seg_layers.-1.weight": np.eye(1, 16, dtype=np.float32).reshape(1, 16, 1, 1, 1),
        "decoder.seg_layers.-1.bias": np.zeros(1, np.float32),
    }
    draw = np.random.default_rng(0)
    image = (draw.standard_normal((1, *shape)) + 50).astype(np.float32)
    made = open_backend("openvino", 1, "cpu").load(stem, [weights], shape).infer(image, ())
    exact = image.astype(np.float64)
    expected = (exact - exact.mean()) / np.sqrt(exact.var() + 1e-5)
    assert np.abs(made[..., 0] - expected[0]).max() < 1e-4


def test_folds_are_averaged(tiny: Any) -> None:
    """Two folds give the mean of their logits."""
    net = _network(tiny, "plain")
    folds = [tiny.weights(net, seed) for seed in (1, 2)]
    image = np.random.default_rng(0).standard_normal((2, 8, 16, 12)).astype(np.float32)
    backend = open_backend("openvino", 1, "cpu")
    single = [backend.load(net, [w], (8, 16, 12)).infer(image, ()).copy() for w in folds]
    both = backend.load(net, folds, (8, 16, 12)).infer(image, ())
    assert np.allclose(both, (single[0] + single[1]) / 2, atol=1e-5)


def test_a_last_layer_with_many_outputs_is_split_off(tiny: Any) -> None:
    """The network gives features, and the layer that is left makes the folds' mean logits."""
    configuration = tiny.plans(1)["configurations"]["3d_fullres"]
    net = read_architecture(configuration, 1, 40)
    folds = [tiny.weights(net, seed) for seed in (1, 2)]
    last = split_off(net, folds)
    assert last is not None
    image = np.random.default_rng(0).standard_normal((1, 8, 16, 12)).astype(np.float32)
    features = open_backend("openvino", 1, "cpu").load(net, folds, (8, 16, 12)).infer(image, ())
    assert features.shape == (8, 16, 12, last.weight.shape[0]) == (8, 16, 12, 8)
    logits = np.moveaxis(features @ last.weight + last.bias, -1, 0)
    expected = (reference(image, folds[0], net) + reference(image, folds[1], net)) / 2
    assert np.abs(logits - expected).max() < 1e-5 * np.abs(expected).max()


def test_a_last_layer_with_few_outputs_stays(tiny: Any) -> None:
    """Splitting it off would make more to sum up."""
    net = _network(tiny, "plain")
    assert split_off(net, [tiny.weights(net, 1)]) is None


def test_a_released_network_works_again(tiny: Any) -> None:
    """Giving memory back does not lose the network."""
    net = _network(tiny, "plain")
    network = open_backend("openvino", 1, "cpu").load(net, [tiny.weights(net, 1)], (8, 16, 12))
    image = np.ones((2, 8, 16, 12), np.float32)
    before = network.infer(image, ()).copy()
    network.release()
    assert np.array_equal(network.infer(image, ()), before)


def test_nobody_is_told_that_it_runs(tmp_path: Path) -> None:
    """OpenVINO's reports to its maker leave traces in the home directory; here there are none."""
    program = (
        "import sys\n"
        "from nephra_nnunet.backends import open_backend\n"
        "open_backend('openvino', 1, 'cpu')\n"
        "assert sys.modules['openvino_telemetry'] is None\n"
    )
    environment = {**os.environ, "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    assert list(tmp_path.iterdir()) == []
