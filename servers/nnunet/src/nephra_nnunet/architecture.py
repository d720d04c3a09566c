"""The network that plans describe, in plain numbers: what a backend builds, from which tensors.

Only the two families that nnU-Net plans by itself are known: the plain convolutional U-Net
(Isensee et al. 2021) and the residual encoder U-Net (Isensee et al. 2024).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from nephra_contract.errors import BundleInvalid
from nephra_nnunet.documents import understood

Triple = tuple[int, int, int]
Kind = Literal["plain", "residual"]

_KINDS: Mapping[str, Kind] = {"PlainConvUNet": "plain", "ResidualEncoderUNet": "residual"}
_DEPTHS: Mapping[Kind, str] = {"plain": "n_conv_per_stage", "residual": "n_blocks_per_stage"}
#: Where nnU-Net keeps its networks; the old format names them without it.
_PACKAGE = "dynamic_network_architectures."
_MODULES = ("", "architectures.unet", "architectures.residual_unet")
#: A block's layers are named, and numbered a second time: 0 is the convolution.
_SHARED = re.compile(r"\.all_modules\.([0-9]+)\.")
#: Arguments of the networks that change nothing at inference, or are read below.
_ARGUMENTS = {
    "n_stages", "features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage",
    "n_blocks_per_stage", "n_conv_per_stage_decoder", "conv_bias", "conv_op", "norm_op",
    "norm_op_kwargs", "nonlin", "nonlin_kwargs", "nonlin_first", "block", "bottleneck_channels",
    "stem_channels", "dropout_op", "dropout_op_kwargs", "deep_supervision",
}  # fmt: skip
_ACTION = "Train with nnU-Net's own 3D U-Nets, or ask for this network to be supported."


@dataclass(frozen=True)
class Architecture:
    """A 3D U-Net.

    Args:
        kind: plain stacks of convolutions, or residual blocks in the encoder.
        input_channels: image channels.
        heads: outputs of the last layer.
        features: per stage, finest first.
        kernels: per stage.
        strides: of each stage's first convolution.
        encoder_depths: convolutions or blocks per encoder stage.
        decoder_depths: convolutions per decoder stage, coarsest first.
        conv_bias: whether convolutions carry a bias.
        norm_eps: added to the variance of instance normalisation.
        negative_slope: of the leaky rectifier.
        stem_features: of the residual encoder's stem.
    """

    kind: Kind
    input_channels: int
    heads: int
    features: tuple[int, ...]
    kernels: tuple[Triple, ...]
    strides: tuple[Triple, ...]
    encoder_depths: tuple[int, ...]
    decoder_depths: tuple[int, ...]
    conv_bias: bool
    norm_eps: float
    negative_slope: float
    stem_features: int

    @property
    def stages(self) -> int:
        """Number of resolutions."""
        return len(self.features)

    @property
    def last_layer(self) -> str:
        """Name of the layer that makes the logits."""
        return f"decoder.seg_layers.{self.stages - 2}"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The tensors that inference needs: name as in nnU-Net's state dict → shape."""
        plan = dict(self._plain() if self.kind == "plain" else self._residual())
        plan.update(self._decoder())
        return plan

    def strange(self, names: Iterable[str]) -> list[str]:
        """Those of a checkpoint's tensors that this network does not have, sorted.

        A checkpoint holds most tensors several times, under the names of the modules that share
        them, and the outputs at coarser stages that only training uses.
        """
        known = set(self.shapes())
        known |= {
            f"decoder.seg_layers.{step}.{part}"
            for step in range(self.stages - 2)
            for part in ("weight", "bias")
        }
        return sorted({_first_name(name) for name in names} - known)

    def divisors(self) -> Triple:
        """What a tile's sides have to be multiples of."""
        a, b, c = (math.prod(stride[axis] for stride in self.strides) for axis in range(3))
        return a, b, c

    def _plain(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        incoming = self.input_channels
        for stage in range(self.stages):
            for depth in range(self.encoder_depths[stage]):
                name = f"encoder.stages.{stage}.0.convs.{depth}"
                yield from self._block(name, incoming, self.features[stage], self.kernels[stage])
                incoming = self.features[stage]

    def _residual(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield from self._block(
            "encoder.stem.convs.0", self.input_channels, self.stem_features, self.kernels[0]
        )
        incoming = self.stem_features
        for stage in range(self.stages):
            outgoing, kernel = self.features[stage], self.kernels[stage]
            for depth in range(self.encoder_depths[stage]):
                name = f"encoder.stages.{stage}.blocks.{depth}"
                yield from self._block(f"{name}.conv1", incoming, outgoing, kernel)
                yield from self._block(f"{name}.conv2", outgoing, outgoing, kernel)
                if incoming != outgoing:
                    skip = f"{name}.skip.{self.projection(stage, depth)}"
                    yield from self._block(skip, incoming, outgoing, (1, 1, 1), bias=False)
                incoming = outgoing

    def projection(self, stage: int, depth: int) -> int:
        """Place of a residual block's projection: behind the average pooling, if there is one."""
        return int(depth == 0 and self.strides[stage] != (1, 1, 1))

    def _decoder(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        for step in range(self.stages - 1):
            below, here = self.features[-step - 1], self.features[-step - 2]
            up = f"decoder.transpconvs.{step}"
            yield f"{up}.weight", (below, here, *self.strides[-step - 1])
            if self.conv_bias:
                yield f"{up}.bias", (here,)
            incoming = 2 * here
            for depth in range(self.decoder_depths[step]):
                name = f"decoder.stages.{step}.convs.{depth}"
                yield from self._block(name, incoming, here, self.kernels[-step - 2])
                incoming = here
        yield f"{self.last_layer}.weight", (self.heads, self.features[0], 1, 1, 1)
        yield f"{self.last_layer}.bias", (self.heads,)

    def _block(
        self, name: str, incoming: int, outgoing: int, kernel: Triple, bias: bool | None = None
    ) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}.conv.weight", (outgoing, incoming, *kernel)
        if self.conv_bias if bias is None else bias:
            yield f"{name}.conv.bias", (outgoing,)
        yield f"{name}.norm.weight", (outgoing,)
        yield f"{name}.norm.bias", (outgoing,)


def read_architecture(
    configuration: Mapping[str, Any], input_channels: int, heads: int
) -> Architecture:
    """The network of one configuration of `plans.json`, in the new format or the old one.

    Raises:
        BundleInvalid: a network, convolution, normalisation or activation that is not known.
    """
    with understood("plans.json"):
        return _read(configuration, input_channels, heads)


def _read(configuration: Mapping[str, Any], input_channels: int, heads: int) -> Architecture:
    if "architecture" in configuration:
        described = configuration["architecture"]
        name = str(described["network_class_name"]).removeprefix(_PACKAGE)
        keywords: Mapping[str, Any] = described["arch_kwargs"]
    else:
        name = str(configuration.get("UNet_class_name"))
        keywords = {}
    kind = _kind(name)
    if not keywords:
        keywords = _old_keywords(configuration, kind)
    _check_parts(keywords)
    stages = int(keywords["n_stages"])
    if stages < 2:
        raise BundleInvalid(f"The plans describe a network of {stages} stages.", _ACTION)
    features = _per_stage(keywords["features_per_stage"], stages)
    return Architecture(
        kind=kind,
        input_channels=input_channels,
        heads=heads,
        features=features,
        kernels=_triples(keywords["kernel_sizes"], stages),
        strides=_triples(keywords["strides"], stages),
        encoder_depths=_per_stage(keywords[_DEPTHS[kind]], stages),
        decoder_depths=_per_stage(keywords["n_conv_per_stage_decoder"], stages - 1),
        conv_bias=bool(keywords.get("conv_bias", False)),
        norm_eps=float((keywords.get("norm_op_kwargs") or {}).get("eps", 1e-5)),
        negative_slope=float((keywords.get("nonlin_kwargs") or {}).get("negative_slope", 0.01)),
        stem_features=int(keywords.get("stem_channels") or features[0]),
    )


def _kind(name: str) -> Kind:
    module, _, last = name.rpartition(".")
    if last not in _KINDS or module not in _MODULES:
        raise BundleInvalid(
            f"The plans name the network '{name}'; only {' and '.join(_KINDS)} are known.", _ACTION
        )
    return _KINDS[last]


def _old_keywords(configuration: Mapping[str, Any], kind: Kind) -> dict[str, Any]:
    """The old format says in other words what the new one says in `arch_kwargs`."""
    depths = configuration["n_conv_per_stage_encoder"]
    base, most = configuration["UNet_base_num_features"], configuration["unet_max_num_features"]
    return {
        "n_stages": len(depths),
        "features_per_stage": [min(base * 2**stage, most) for stage in range(len(depths))],
        "kernel_sizes": configuration["conv_kernel_sizes"],
        "strides": configuration["pool_op_kernel_sizes"],
        _DEPTHS[kind]: depths,
        "n_conv_per_stage_decoder": configuration["n_conv_per_stage_decoder"],
        "conv_bias": True,
        "conv_op": "Conv3d",
        "norm_op": "InstanceNorm3d",
        "nonlin": "LeakyReLU",
    }


def _check_parts(keywords: Mapping[str, Any]) -> None:
    """Refuse what would be built wrongly. What is left out is none, or the network's default."""
    strange = sorted(set(keywords) - _ARGUMENTS)
    if strange:
        raise BundleInvalid(
            f"The plans give the network {', '.join(strange)}, which is not known.", _ACTION
        )
    known = {
        "conv_op": ("Conv3d",),
        "norm_op": ("InstanceNorm3d",),
        "nonlin": ("LeakyReLU",),
        "block": ("BasicBlockD", "None"),
    }
    for part, allowed in known.items():
        found = str(keywords.get(part)).rsplit(".", 1)[-1]
        if found not in allowed:
            raise BundleInvalid(
                f"The plans ask for {part} '{found}'; only {allowed[0]} is known.", _ACTION
            )
    if not (keywords.get("norm_op_kwargs") or {"affine": True}).get("affine", False):
        raise BundleInvalid("The plans ask for instance normalisation without weights.", _ACTION)
    if keywords.get("nonlin_first") or keywords.get("bottleneck_channels"):
        raise BundleInvalid(
            "The plans ask for another order of layers, or for bottleneck blocks.", _ACTION
        )


def _first_name(name: str) -> str:
    """The name under which `shapes` knows a tensor that a checkpoint holds several times."""
    own = name.removeprefix("decoder.") if name.startswith("decoder.encoder.") else name
    return _SHARED.sub(lambda found: ".conv." if found[1] == "0" else ".norm.", own)


def _per_stage(value: int | Sequence[int], stages: int) -> tuple[int, ...]:
    values = (int(value),) * stages if isinstance(value, int) else tuple(int(v) for v in value)
    if len(values) != stages:
        raise BundleInvalid(
            f"The plans describe {stages} stages, but list {len(values)} numbers for them.",
            "Take plans.json from the folder that training left.",
        )
    return values


def _triples(value: int | Sequence[Any], stages: int) -> tuple[Triple, ...]:
    rows = [value] * stages if isinstance(value, int) else list(value)
    triples = [(int(r),) * 3 if isinstance(r, int) else tuple(int(n) for n in r) for r in rows]
    if len(triples) != stages or any(len(t) != 3 for t in triples):
        raise BundleInvalid(
            "The plans hold kernels or strides that are not three numbers per stage.",
            "Use a 3D configuration.",
        )
    return tuple((t[0], t[1], t[2]) for t in triples)
