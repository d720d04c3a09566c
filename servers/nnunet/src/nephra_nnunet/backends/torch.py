"""Networks by PyTorch, on a GPU or on the CPU: one code, two devices.

On a GPU it computes in half precision by autocast as nnU-Net does, but in the channels-last layout
that tensor cores want; sums are always float32.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nephra_contract.errors import InternalError, Unavailable
from nephra_nnunet.architecture import Architecture, Triple
from nephra_nnunet.backends import BackendName, Network, Precision, Sink, Target, Weights
from nephra_nnunet.backends.torch_memory import release, within_memory
from nephra_nnunet.backends.torch_sink import TorchSink
from nephra_nnunet.head import LastLayer, split_off


class TorchBackend:
    """PyTorch.

    Args:
        threads: that inference on the CPU may use.
        device: `cpu`, `cuda` or such as `cuda:1`.

    Raises:
        Unavailable: there is no such device.
    """

    name: BackendName = "torch"

    def __init__(self, threads: int, device: str) -> None:
        import torch

        torch.set_num_threads(threads)
        self._device = find_device(device)
        if self._device.type == "cuda":
            # All tiles of a bundle have one shape, so that the search for the fastest convolution
            # is made once, when the service warms up. nnU-Net sets it, too.
            torch.backends.cudnn.benchmark = True
            # TF32 stays as PyTorch has it, and so as nnU-Net: allowed in convolutions (which
            # are in half precision here), not in matrix products (the last layer in the sink).

    def load(
        self,
        architecture: Architecture,
        folds: Sequence[Weights],
        patch: Triple,
        precision: Precision = "float32",
    ) -> Network:
        """Build the network, once per fold; it takes tiles of any size.

        Args:
            architecture: of all folds.
            folds: the weights of each.
            patch: not needed.
            precision: on the CPU. On a GPU it is half precision by autocast as nnU-Net has it.

        Raises:
            InternalError: weights are missing, or are for another network.
            InsufficientMemory: the device cannot hold the weights.
        """
        del patch
        last = split_off(architecture, folds)
        with within_memory(self._device, f"The weights of {len(folds)} network(s)"):
            modules = [build(architecture, weights, last is None) for weights in folds]
            for module in modules:
                move(module, self._device)
        channels = architecture.heads if last is None else architecture.features[0]
        return TorchNetwork(modules, channels, last, self._device, precision)


class TorchNetwork:
    """PyTorch modules, one per fold.

    Args:
        modules: on the device.
        channels: that each of them gives.
        last: the layer that they lack; None if they end in logits.
        device: a `torch.device`.
        precision: on the CPU.
    """

    def __init__(
        self,
        modules: Sequence[Any],
        channels: int,
        last: LastLayer | None,
        device: Any,
        precision: Precision,
    ) -> None:
        self._modules = modules
        self._channels = channels
        self._last = last
        self._device = device
        self._precision = precision

    def infer(self, tile: NDArray[np.float32], mirror_axes: Sequence[int]) -> Any:
        """(channels, *patch) → (heads or features x folds, *patch) float32; see `Network.infer`.

        Raises:
            InsufficientMemory: the layers' outputs do not fit.
        """
        import torch

        shape, turns = tile.shape[1:], list(mirrorings(mirror_axes))
        what = f"A tile of {'x'.join(str(n) for n in shape)} voxels"
        with within_memory(self._device, what), self._autocast():
            # A copy, because PyTorch takes neither negative strides nor what cannot be written.
            image = torch.from_numpy(np.array(tile[None], dtype=np.float32, order="C"))
            batch = image.to(self._device, memory_format=layout(self._device))
            if len(turns) == len(self._modules) == 1:
                return self._modules[0](batch)[0].float()
            # Folds stand side by side for the last layer, which knows its own mean of them.
            beside = 1 if self._last is None else len(self._modules)
            total = torch.zeros((beside, self._channels, *shape), device=self._device)
            for number, module in enumerate(self._modules):
                for axes in turns:
                    made = module(torch.flip(batch, axes) if axes else batch)
                    total[number % beside] += (torch.flip(made, axes) if axes else made)[0]
            return total.div_(len(turns) * len(self._modules) // beside).flatten(0, 1)

    def sink(self, target: Target) -> Sink:
        """See `Network.sink`."""
        return TorchSink(target, self._last, self._device)

    def release(self) -> None:
        """See `Network.release`."""
        release(self._device)

    def _autocast(self) -> Any:
        import torch

        if self._device.type == "cuda":
            return torch.autocast("cuda")
        low = self._precision == "bfloat16"
        return torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=low)


def find_device(name: str) -> Any:
    """The `torch.device` of that name.

    Raises:
        Unavailable: there is none.
    """
    import torch

    found = re.fullmatch(r"(cpu|cuda(?::([0-9]+))?)", name)
    count = torch.cuda.device_count() if name.startswith("cuda") else 1
    if found is None or int(found[2] or 0) >= count:
        raise Unavailable(
            f"PyTorch finds no device '{name}' here.",
            "Set NEPHRA_DEVICE to cpu, or to a GPU that this process can see, such as cuda:0.",
        )
    return torch.device(name)


def mirrorings(axes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every set of the axes, the empty one first, as axes of (1, channels, a, b, c)."""
    for count in range(len(axes) + 1):
        for chosen in combinations(axes, count):
            yield tuple(axis + 2 for axis in chosen)


def layout(device: Any) -> Any:
    """The memory format that convolutions on this device are fastest in."""
    import torch

    return torch.channels_last_3d if device.type == "cuda" else torch.contiguous_format


def move(module: Any, device: Any) -> None:
    """Take a module to a device, in the layout for it."""
    module.to(device=device, memory_format=layout(device))


def build(architecture: Architecture, weights: Weights, with_last: bool) -> Any:
    """One fold's network on the CPU, ready for inference on batches of one.

    Args:
        architecture: to build.
        weights: by name.
        with_last: whether it ends in logits, or in what its last layer would make them of.

    Raises:
        InternalError: weights are missing, or are for another network.
    """
    import torch

    # Nothing is drawn at random, and nothing allocated, that weights replace anyway.
    with torch.device("meta"):
        module = _describe(architecture)
    state = {name: torch.from_numpy(np.array(values)) for name, values in weights.items()}
    try:
        # nnU-Net's names have aliases, which are not in `weights`: hence not strict.
        strange = module.load_state_dict(state, strict=False, assign=True).unexpected_keys
    except RuntimeError as error:
        raise InternalError("The weights are for a network of another shape.") from error
    # The other heads are deep supervision's: of no use after training.
    last = module.decoder.seg_layers[-1] if with_last else torch.nn.Identity()
    module.decoder.seg_layers = torch.nn.ModuleList([last])
    missing = [name for name, values in module.named_parameters() if values.is_meta]
    if strange or missing:
        raise InternalError("The weights are for a network of other layers.")
    return module.eval().requires_grad_(requires_grad=False)


def _describe(architecture: Architecture) -> Any:
    import torch
    from dynamic_network_architectures.architectures import unet

    plain = architecture.kind == "plain"
    depths = {"n_conv_per_stage" if plain else "n_blocks_per_stage": architecture.encoder_depths}
    extra = {} if plain else {"stem_channels": architecture.stem_features}
    return (unet.PlainConvUNet if plain else unet.ResidualEncoderUNet)(
        input_channels=architecture.input_channels,
        n_stages=architecture.stages,
        features_per_stage=architecture.features,
        conv_op=torch.nn.Conv3d,
        kernel_sizes=architecture.kernels,
        strides=architecture.strides,
        num_classes=architecture.heads,
        n_conv_per_stage_decoder=architecture.decoder_depths,
        conv_bias=architecture.conv_bias,
        # In a batch of one, normalising an instance is normalising the batch by its own statistics.
        # PyTorch computes the first by the second, but copies channels-last arrays on the way.
        norm_op=torch.nn.BatchNorm3d,
        norm_op_kwargs={
            "eps": architecture.norm_eps,
            "affine": True,
            "track_running_stats": False,
        },
        nonlin=torch.nn.LeakyReLU,
        nonlin_kwargs={"negative_slope": architecture.negative_slope, "inplace": True},
        deep_supervision=False,
        **depths,
        **extra,
    )
