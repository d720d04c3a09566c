"""Networks on the CPU by OpenVINO, built layer by layer from plans and weights, without PyTorch.

All is computed in float32. Instance normalisation is not left to OpenVINO's own layer, nor to
`ReduceMean`: both sum a channel's millions of voxels in one float32 and are off by a hundred
times PyTorch's error. Average pooling in steps of at most twelve voxels sums pairwise, is as
exact as PyTorch, and is not recognised and fused into that layer by the compiler.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nephra_contract import logs
from nephra_nnunet.architecture import Architecture, Triple
from nephra_nnunet.backends import BackendName, Network, Precision, Sink, Target, Weights
from nephra_nnunet.head import LastLayer, split_off
from nephra_nnunet.ring import Ring

_ONES: Triple = (1, 1, 1)
_NO_PADDING: Triple = (0, 0, 0)
_MAX_POOL = 12
_HINTS = {"float32": "f32", "bfloat16": "bf16"}


def _openvino() -> Any:
    """OpenVINO, kept from reporting to its maker that it was imported.

    Its wheel asks for a package that sends such reports; without that package a stub of its own
    stands in.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def computes_in_bfloat16() -> bool:
    """Whether this CPU has instructions for it."""
    return "BF16" in _openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


class OpenVinoBackend:
    """OpenVINO on the CPU.

    Args:
        threads: that inference may use.
    """

    name: BackendName = "openvino"

    def __init__(self, threads: int) -> None:
        self._core = _openvino().Core()
        self._threads = threads

    def load(
        self,
        architecture: Architecture,
        folds: Sequence[Weights],
        patch: Triple,
        precision: Precision = "float32",
    ) -> Network:
        """Build and compile the network, once per fold."""
        last = split_off(architecture, folds)
        config = {
            "INFERENCE_PRECISION_HINT": self._hint(precision),
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(self._threads),
        }
        model = build_model(architecture, folds, patch, last is None)
        return OpenVinoNetwork(self._core.compile_model(model, "CPU", config), last, self._threads)

    def _hint(self, precision: Precision) -> str:
        """OpenVINO's word for it; float32 where the CPU would only imitate bfloat16."""
        if precision == "bfloat16" and not computes_in_bfloat16():
            logs.line("bfloat16 not on this CPU, float32 instead", logging.WARNING)
            return _HINTS["float32"]
        return _HINTS[precision]


class OpenVinoNetwork:
    """A compiled network.

    Args:
        compiled: (1, channels, *patch) → (1, *patch, outputs).
        last: the last layer of all folds, if it is split off.
        threads: for what is done with the outputs.
    """

    def __init__(self, compiled: Any, last: LastLayer | None, threads: int) -> None:
        self._compiled = compiled
        self._last = last
        self._threads = threads
        self._request: Any = None

    def infer(self, tile: NDArray[np.float32], mirror_axes: Sequence[int]) -> NDArray[np.float32]:
        """(channels, *patch) → (*patch, outputs); see `Network.infer`."""
        once = self._infer(tile)
        if not mirror_axes:
            return once
        total = once.copy()
        flips = [f for n in range(1, len(mirror_axes) + 1) for f in combinations(mirror_axes, n)]
        for flip in flips:
            mirrored = np.flip(tile, tuple(axis + 1 for axis in flip))
            total += np.flip(self._infer(mirrored), flip)
        total /= np.float32(len(flips) + 1)
        return total

    def sink(self, target: Target) -> Sink:
        """See `Network.sink`."""
        return Ring(target, self._last, self._threads)

    def release(self) -> None:
        """See `Network.release`."""
        self._request = None
        self._compiled.release_memory()

    def _infer(self, tile: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._request is None:
            self._request = self._compiled.create_infer_request()
        batch = np.ascontiguousarray(tile[None], dtype=np.float32)
        self._request.infer([batch], share_inputs=True)
        return np.asarray(self._request.get_output_tensor(0).data[0])


def build_model(
    architecture: Architecture, folds: Sequence[Weights], patch: Triple, with_last: bool = True
) -> Any:
    """The network as an `openvino.Model`: (1, channels, *patch) → (1, *patch, outputs), float32.

    All folds are one model, one after another, so that they share the memory of their layers.

    Args:
        architecture: of the network.
        folds: the weights of each.
        patch: the tile.
        with_last: whether the last layer, which makes logits of features, is part of it: the
            outputs are the folds' mean logits, or else their features, one fold after another.
    """
    openvino = _openvino()
    ops = openvino.opset13
    image = ops.parameter([1, architecture.input_channels, *patch], np.float32, name="image")
    outputs = [_Builder(architecture, weights).output(image, with_last) for weights in folds]
    whole = outputs[0]
    if len(folds) > 1 and with_last:
        for output in outputs[1:]:
            whole = ops.add(whole, output)
        whole = ops.multiply(whole, ops.constant(np.float32(1 / len(folds))))
    elif len(folds) > 1:
        whole = ops.concat(outputs, 1)
    # Channels last is how the layers keep it anyway, and how it is summed up.
    turned = ops.transpose(whole, np.array([0, 2, 3, 4, 1]))
    return openvino.Model([turned], [image], "nnunet")


class _Builder:
    """Turns an architecture into OpenVINO's operations."""

    def __init__(self, architecture: Architecture, weights: Weights) -> None:
        self._ops = _openvino().opset13
        self._architecture = architecture
        self._weights = weights

    def output(self, image: Any, with_last: bool) -> Any:
        """(1, channels, *patch) → (1, outputs, *patch)."""
        encode = self._plain if self._architecture.kind == "plain" else self._residual
        features = self._decode(encode(image))
        return (
            self._convolve(features, self._architecture.last_layer, _ONES)
            if with_last
            else features
        )

    def _plain(self, x: Any) -> list[Any]:
        skips = []
        for stage, depth in enumerate(self._architecture.encoder_depths):
            for number in range(depth):
                stride = self._architecture.strides[stage] if number == 0 else _ONES
                x = self._rectify(
                    self._block(x, f"encoder.stages.{stage}.0.convs.{number}", stride)
                )
            skips.append(x)
        return skips

    def _residual(self, x: Any) -> list[Any]:
        skips = []
        x = self._rectify(self._block(x, "encoder.stem.convs.0", _ONES))
        for stage, depth in enumerate(self._architecture.encoder_depths):
            for number in range(depth):
                x = self._residual_block(x, stage, number)
            skips.append(x)
        return skips

    def _residual_block(self, x: Any, stage: int, number: int) -> Any:
        name = f"encoder.stages.{stage}.blocks.{number}"
        stride = self._architecture.strides[stage] if number == 0 else _ONES
        y = self._rectify(self._block(x, f"{name}.conv1", stride))
        y = self._block(y, f"{name}.conv2", _ONES)
        if stride != _ONES:
            x = self._pool(x, stride)
        projection = f"{name}.skip.{self._architecture.projection(stage, number)}"
        if f"{projection}.conv.weight" in self._weights:
            x = self._block(x, projection, _ONES)
        return self._rectify(self._ops.add(y, x))

    def _decode(self, skips: list[Any]) -> Any:
        x = skips[-1]
        for step, depth in enumerate(self._architecture.decoder_depths):
            x = self._enlarge(x, step)
            x = self._ops.concat([x, skips[-step - 2]], 1)
            for number in range(depth):
                x = self._rectify(self._block(x, f"decoder.stages.{step}.convs.{number}", _ONES))
        return x

    def _block(self, x: Any, name: str, stride: Triple) -> Any:
        return self._normalise(self._convolve(x, f"{name}.conv", stride), f"{name}.norm")

    def _convolve(self, x: Any, name: str, stride: Triple) -> Any:
        kernel = self._weights[f"{name}.weight"]
        padding = [(n - 1) // 2 for n in kernel.shape[2:]]
        weight = self._ops.constant(kernel)
        y = self._ops.convolution(x, weight, list(stride), padding, padding, list(_ONES))
        return self._add_bias(y, name)

    def _enlarge(self, x: Any, step: int) -> Any:
        name = f"decoder.transpconvs.{step}"
        stride = self._architecture.strides[-step - 1]
        y = self._ops.convolution_backprop_data(
            x,
            self._ops.constant(self._weights[f"{name}.weight"]),
            list(stride),
            pads_begin=list(_NO_PADDING),
            pads_end=list(_NO_PADDING),
            dilations=list(_ONES),
        )
        return self._add_bias(y, name)

    def _add_bias(self, x: Any, name: str) -> Any:
        bias = self._weights.get(f"{name}.bias")
        return x if bias is None else self._ops.add(x, self._per_channel(bias))

    def _normalise(self, x: Any, name: str) -> Any:
        """Instance normalisation (Ulyanov et al. 2016) by the two-pass formula."""
        centred = self._ops.subtract(x, self._mean(x))
        variance = self._mean(self._ops.multiply(centred, centred))
        epsilon = self._ops.constant(np.float32(self._architecture.norm_eps))
        deviation = self._ops.sqrt(self._ops.add(variance, epsilon))
        gain = self._ops.divide(self._per_channel(self._weights[f"{name}.weight"]), deviation)
        offset = self._per_channel(self._weights[f"{name}.bias"])
        return self._ops.add(self._ops.multiply(centred, gain), offset)

    def _mean(self, x: Any) -> Any:
        """Mean over space, in steps small enough that no sum grows long."""
        sizes = [int(n) for n in list(x.shape)[2:]]
        while max(sizes) > 1:
            window = [_step(n) for n in sizes]
            x = self._pool(x, (window[0], window[1], window[2]))
            sizes = [n // w for n, w in zip(sizes, window, strict=True)]
        return x

    def _pool(self, x: Any, window: Triple) -> Any:
        size = list(window)
        return self._ops.avg_pool(
            x, size, list(_NO_PADDING), list(_NO_PADDING), size, exclude_pad=True
        )

    def _rectify(self, x: Any) -> Any:
        slope = np.array([self._architecture.negative_slope], dtype=np.float32)
        return self._ops.prelu(x, self._ops.constant(slope))

    def _per_channel(self, values: NDArray[np.float32]) -> Any:
        return self._ops.constant(values.reshape(1, -1, 1, 1, 1))


def _step(size: int) -> int:
    """The largest divisor of `size` up to `_MAX_POOL`; the whole size if there is none but 1."""
    return max((d for d in range(2, _MAX_POOL + 1) if size % d == 0), default=size)
