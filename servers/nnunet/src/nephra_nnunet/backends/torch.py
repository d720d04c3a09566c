"""Networks by PyTorch, on a GPU or on the CPU; the same tiles, weights and logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nephra_nnunet.architecture import Architecture, Triple
from nephra_nnunet.backends import BackendName, Network, Weights


class TorchBackend:
    """PyTorch.

    Args:
        threads: that inference on the CPU may use.
        device: such as `cpu`, `cuda` or `cuda:1`.
    """

    name: BackendName = "torch"

    def __init__(self, threads: int, device: str) -> None:
        import torch

        torch.set_num_threads(threads)
        self._device = torch.device(device)

    def load(self, architecture: Architecture, folds: Sequence[Weights], patch: Triple) -> Network:
        """Build the network, once per fold; it takes tiles of any size."""
        del patch
        return TorchNetwork([_build(architecture, w, self._device) for w in folds], self._device)


class TorchNetwork:
    """PyTorch modules, one per fold."""

    def __init__(self, modules: Sequence[Any], device: Any) -> None:
        self._modules = modules
        self._device = device

    def infer(self, tile: NDArray[np.float32]) -> NDArray[np.float32]:
        """(channels, *patch) → (heads, *patch); see `Network.infer`."""
        import torch

        with torch.inference_mode(), torch.autocast("cuda", enabled=self._device.type == "cuda"):
            batch = torch.from_numpy(np.ascontiguousarray(tile[None])).to(self._device)
            total = sum(module(batch)[0].float() for module in self._modules)
            mean: NDArray[np.float32] = (total / len(self._modules)).cpu().numpy()
        return mean

    def release(self) -> None:
        """See `Network.release`."""
        if self._device.type == "cuda":
            import torch

            torch.cuda.empty_cache()


def _build(architecture: Architecture, weights: Weights, device: Any) -> Any:
    import torch
    from dynamic_network_architectures.architectures import unet

    plain = architecture.kind == "plain"
    depths = {"n_conv_per_stage" if plain else "n_blocks_per_stage": architecture.encoder_depths}
    extra = {} if plain else {"stem_channels": architecture.stem_features}
    module = (unet.PlainConvUNet if plain else unet.ResidualEncoderUNet)(
        input_channels=architecture.input_channels,
        n_stages=architecture.stages,
        features_per_stage=architecture.features,
        conv_op=torch.nn.Conv3d,
        kernel_sizes=architecture.kernels,
        strides=architecture.strides,
        num_classes=architecture.heads,
        n_conv_per_stage_decoder=architecture.decoder_depths,
        conv_bias=architecture.conv_bias,
        norm_op=torch.nn.InstanceNorm3d,
        norm_op_kwargs={"eps": architecture.norm_eps, "affine": True},
        nonlin=torch.nn.LeakyReLU,
        nonlin_kwargs={"negative_slope": architecture.negative_slope, "inplace": True},
        deep_supervision=False,
        **depths,
        **extra,
    )
    # The heads of deep supervision and the aliases of nnU-Net's state dict are left out.
    module.load_state_dict({k: torch.tensor(v) for k, v in weights.items()}, strict=False)
    return module.to(device).eval()
