"""PyTorch's tiles, sums and labels against the plainest way to get them: all logits, everywhere."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain, combinations, product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from nephra_contract.errors import InsufficientMemory, InternalError, Unavailable
from nephra_contract.progress import Progress
from nephra_nnunet.architecture import Architecture, Triple, read_architecture
from nephra_nnunet.backends import Network, Target, open_backend, torch_sink
from nephra_nnunet.backends.torch_sink import TorchSink
from nephra_nnunet.head import LastLayer
from nephra_nnunet.plans import Heads, Resampling
from nephra_nnunet.resampling import operators
from nephra_nnunet.ring import Ring
from nephra_nnunet.sliding import aim, segment, tiles

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("dynamic_network_architectures", reason="nnunetv2 is not installed")
pytestmark = pytest.mark.stock

Array = NDArray[np.float32]
PATCH = (8, 16, 16)
ALL_AXES = (0, 1, 2)


def make_heads(count: int, regions: bool = False) -> Heads:
    """Outputs named by their numbers."""
    numbers = tuple(range(int(regions), count + int(regions)))
    return Heads(tuple(f"head {n}" for n in numbers), numbers, regions)


def make_target(
    shape: Triple, full: Triple, heads: Heads, labels: NDArray[np.uint8] | None = None,
    apart: bool | None = None, patch: Triple = PATCH,
) -> Target:  # fmt: skip
    """A target whose numbers are not what they count."""
    spacing = (1.0, 1.0, 1.0) if apart is None else (4.0, 1.0, 1.0)
    back = operators(shape, full, spacing, (1.0, 1.0, 1.0), Resampling(1, 0, apart))
    numbers = np.arange(len(heads.names) + 1, dtype=np.uint8) * 2 + 1
    labels = np.zeros(full, np.uint8) if labels is None else labels
    return aim(shape, patch, back, heads, numbers, labels)


def describe(tiny: Any, kind: str, heads: int, channels: int = 2) -> Architecture:
    """A small network with that many outputs."""
    configuration = tiny.plans(channels, kind=kind)["configurations"]["3d_fullres"]
    return read_architecture(configuration, channels, heads)


def open_network(tiny: Any, net: Architecture, folds: int = 1, **options: Any) -> Network:
    """The network with random weights, on the CPU."""
    weights = [tiny.weights(net, 5 + fold) for fold in range(folds)]
    return open_backend("torch", 1, "cpu").load(net, weights, PATCH, **options)


def stock_module(net: Architecture, weights: Any) -> Any:
    """One fold as nnU-Net builds it: instance normalisation, its last layer in place."""
    from dynamic_network_architectures.architectures import unet

    plain = net.kind == "plain"
    module = (unet.PlainConvUNet if plain else unet.ResidualEncoderUNet)(
        net.input_channels, net.stages, net.features, torch.nn.Conv3d, net.kernels, net.strides,
        net.encoder_depths, net.heads, net.decoder_depths, net.conv_bias, torch.nn.InstanceNorm3d,
        {"eps": net.norm_eps, "affine": True}, None, None, torch.nn.LeakyReLU, {"inplace": True},
    )  # fmt: skip
    state = {name: torch.from_numpy(np.array(values)) for name, values in weights.items()}
    module.load_state_dict(state, strict=False)
    return module.eval()


def stock_logits(
    modules: Sequence[Any], image: Array, target: Target, mirror_axes: Sequence[int]
) -> Array:
    """All logits of a padded image, (heads, *target.shape), by NumPy's sums."""
    sums = np.zeros((len(target.heads.names), *target.shape))
    weights = np.zeros(target.shape)
    whole = np.zeros((image.shape[0], *target.shape), np.float32)
    whole[:, *target.inner] = image
    subsets = [c for n in range(len(mirror_axes) + 1) for c in combinations(mirror_axes, n)]
    for start in tiles(target.shape, target.patch):
        box = tuple(slice(s, s + p) for s, p in zip(start, target.patch, strict=True))
        made: list[NDArray[Any]] = []
        for module, axes in product(modules, subsets):
            spatial = tuple(a + 1 for a in axes)
            tile = np.flip(whole[:, *box], spatial).copy()
            with torch.inference_mode():
                made.append(np.flip(module(torch.from_numpy(tile)[None])[0].numpy(), spatial))
        sums[:, *box] += np.mean(made, axis=0) * target.weight
        weights[box] += target.weight
    return (sums / weights).astype(np.float32)


def stock_labels(logits: Array, target: Target) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Every logit at full resolution, then a decision; and where it is beyond rounding."""
    first, second, third = target.back.matrices
    inner = logits[:, *target.inner].astype(np.float64)
    full = np.einsum("ia,jb,kc,nabc->nijk", first, second, third, inner, optimize=True)
    if target.heads.regions:
        seen = np.zeros(full.shape[1:], np.int64)
        for region, values in enumerate(full):
            seen[values > 0] = region + 1
        sure = np.abs(full).min(axis=0) > 1e-4
    else:
        seen = full.argmax(axis=0)
        top = np.partition(full, -2, axis=0)
        sure = top[-1] - top[-2] > 1e-4
    return target.numbers[seen], sure


def compare(
    tiny: Any, net: Architecture, target: Target, folds: int = 1, mirror_axes: Sequence[int] = ()
) -> None:
    """Segment noise in both ways."""
    inner = [s.stop - s.start for s in target.inner]
    draw = np.random.default_rng(len(target.heads.names))
    image = draw.standard_normal((net.input_channels, *inner)).astype(np.float32)
    network = open_network(tiny, net, folds)
    segment(network, image, target, mirror_axes, Progress())
    modules = [stock_module(net, tiny.weights(net, 5 + fold)) for fold in range(folds)]
    expected, sure = stock_labels(stock_logits(modules, image, target, mirror_axes), target)
    assert sure.mean() > 0.99
    assert len(np.unique(expected)) > 1
    assert np.array_equal(target.labels[sure], expected[sure])


@pytest.mark.parametrize("kind", ["plain", "residual"])
@pytest.mark.parametrize("full", [(40, 50, 45), (20, 24, 21), (11, 9, 20)])
def test_labels_are_those_of_all_logits(kind: str, full: Triple, tiny: Any) -> None:
    """At finer, the same and coarser spacing, with the ring turning several times."""
    net = describe(tiny, kind, 4)
    compare(tiny, net, make_target((20, 24, 21), full, make_heads(4)))


def test_regions_lie_one_over_the_other(tiny: Any) -> None:
    """The last region that is positive is written."""
    net = describe(tiny, "plain", 3)
    compare(tiny, net, make_target((20, 24, 21), (33, 48, 40), make_heads(3, regions=True)))


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("split", [False, True])
def test_both_sinks_give_the_same_labels(regions: bool, split: bool) -> None:
    """From the same tiles, the device's and the CPU's, cell by cell or plane by plane."""
    draw = np.random.default_rng(3)
    shape, full, count = (20, 24, 21), (50, 40, 47), 4 if regions else 12
    target = make_target(shape, full, make_heads(count, regions))
    last = None
    if split:
        weight = draw.standard_normal((5, count)).astype(np.float32)
        last = LastLayer(weight, draw.standard_normal(count).astype(np.float32))
    channels = 5 if split else count
    other = replace(target, labels=np.zeros(full, np.uint8))
    sink, ring = TorchSink(target, last, torch.device("cpu")), Ring(other, last, 1)
    starts = tiles(target.shape, PATCH)
    for start, following in zip(starts, [*starts[1:], (shape[0], 0, 0)], strict=True):
        output = ndimage.gaussian_filter(draw.standard_normal((channels, *PATCH)), (0, 2, 2, 2))
        output = (output * 20).astype(np.float32)
        sink.add(start, torch.from_numpy(output))
        ring.add(start, np.ascontiguousarray(output.transpose(1, 2, 3, 0)))
        if following[0] > start[0]:
            sink.finish(following[0])
            ring.finish(following[0])
    assert len(np.unique(target.labels)) > 3
    assert np.count_nonzero(target.labels != other.labels) <= 2


@pytest.mark.parametrize(("heads", "folds"), [(3, 3), (118, 1), (118, 2)])
def test_folds_are_averaged(heads: int, folds: int, tiny: Any) -> None:
    """The mean of logits, also where the last layer is applied to the folds' features."""
    net = describe(tiny, "plain", heads)
    target = make_target((12, 20, 17), (21, 30, 22), make_heads(heads))
    compare(tiny, net, target, folds=folds)


@pytest.mark.parametrize("heads", [3, 118])
@pytest.mark.parametrize("axes", [(1,), (0, 2), ALL_AXES])
def test_mirrored_predictions_are_averaged(heads: int, axes: Sequence[int], tiny: Any) -> None:
    """Over every combination of the axes."""
    net = describe(tiny, "plain", heads)
    target = make_target((12, 20, 17), (21, 30, 22), make_heads(heads))
    compare(tiny, net, target, mirror_axes=axes)


@pytest.mark.parametrize("shape", [(5, 24, 11), (20, 9, 7), (3, 5, 4)])
def test_padding_is_left_out(shape: Triple, tiny: Any) -> None:
    """Images smaller than a tile along some axes."""
    net = describe(tiny, "plain", 3)
    full = (shape[0] * 2, shape[1] * 2 - 1, shape[2] + 3)
    target = make_target(shape, full, make_heads(3))
    assert target.shape != shape
    compare(tiny, net, target)


def test_a_coarse_axis_takes_the_nearest_plane(tiny: Any) -> None:
    """Anisotropic images are interpolated within slices only."""
    net = describe(tiny, "plain", 4)
    target = make_target((14, 24, 21), (50, 30, 33), make_heads(4), apart=True)
    assert target.back.apart == 0
    compare(tiny, net, target)


@pytest.mark.parametrize("axes", [(2, 1, 0), (1, 2, 0)])
def test_labels_may_have_any_strides(axes: Triple, tiny: Any) -> None:
    """A transposed and reversed view is written in place, and nothing beside it."""
    full = (31, 40, 27)
    store = np.full([full[a] + 4 for a in np.argsort(axes)], 255, np.uint8)
    view = store[2:-2, 2:-2, 2:-2].transpose(axes)[::-1, :, ::-1]
    net = describe(tiny, "plain", 3)
    compare(tiny, net, make_target((20, 24, 21), full, make_heads(3), labels=view))
    assert np.count_nonzero(store == 255) == store.size - np.prod(full)


def test_a_single_head_and_a_single_region_work(tiny: Any) -> None:
    """One region is seen where it is positive."""
    net = describe(tiny, "plain", 1)
    compare(tiny, net, make_target((12, 20, 17), (21, 30, 22), make_heads(1, regions=True)))


def test_tiles_may_be_views(tiny: Any) -> None:
    """Reversed, transposed and read-only tiles give what their copies give."""
    network = open_network(tiny, describe(tiny, "plain", 3))
    store = np.random.default_rng(0).standard_normal((16, 2, 16, 8)).astype(np.float32)
    store.flags.writeable = False
    view = store.transpose(1, 3, 2, 0)[:, ::-1]
    assert torch.equal(network.infer(view, ()), network.infer(view.copy(), ()))


def test_bfloat16_is_near_and_not_the_same(tiny: Any) -> None:
    """Layers in bfloat16, sums in float32."""
    net = describe(tiny, "plain", 3)
    tile = np.random.default_rng(0).standard_normal((2, *PATCH)).astype(np.float32)
    exact = open_network(tiny, net).infer(tile, (0,))
    rough = open_network(tiny, net, precision="bfloat16").infer(tile, (0,))
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 0.1 * exact.abs().max()


def test_a_released_network_works_again(tiny: Any) -> None:
    """Giving memory back does not lose the network."""
    network = open_network(tiny, describe(tiny, "plain", 3))
    tile = np.ones((2, *PATCH), np.float32)
    before = network.infer(tile, ()).clone()
    network.release()
    assert torch.equal(network.infer(tile, ()), before)


@pytest.mark.parametrize("name", ["encoder.stages.1.0.convs.0.norm.weight", "last"])
def test_weights_that_lack_a_tensor_are_refused(name: str, tiny: Any) -> None:
    """No layer is left with weights that nobody trained."""
    net = describe(tiny, "plain", 3)
    weights = dict(tiny.weights(net, 1))
    del weights[f"{net.last_layer}.bias" if name == "last" else name]
    with pytest.raises(InternalError):
        open_backend("torch", 1, "cpu").load(net, [weights], PATCH)


def test_weights_of_another_network_are_refused(tiny: Any) -> None:
    """A tensor of another shape, and one that no layer has."""
    net = describe(tiny, "plain", 3)
    weights = tiny.weights(net, 1)
    strange = {**weights, "encoder.stages.9.conv.weight": np.ones(3, np.float32)}
    for wrong in (tiny.weights(describe(tiny, "plain", 4), 1), strange):
        with pytest.raises(InternalError):
            open_backend("torch", 1, "cpu").load(net, [wrong], PATCH)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_that_are_not_numbers_make_no_labels(value: float, tiny: Any) -> None:
    """An error, and no mask."""
    network = open_network(tiny, describe(tiny, "plain", 3))
    image = np.zeros((2, 12, 20, 17), np.float32)
    image[0, 6, 7, 8] = value
    target = make_target((12, 20, 17), (12, 20, 17), make_heads(3))
    with pytest.raises(InternalError, match="not numbers"):
        segment(network, image, target, (), Progress())


@pytest.mark.parametrize("device", ["cuda:99", "cpu:1", "gpu", "cuda:", "cuda:x"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    """At once, and not at the first tile."""
    with pytest.raises(Unavailable, match="no device"):
        open_backend("torch", 1, device)


def test_lack_of_memory_says_how_much_there_is(tiny: Any) -> None:
    """Sums that fit nowhere are refused with numbers and an action."""
    network = open_network(tiny, describe(tiny, "plain", 3))
    target = make_target((12, 20, 17), (12, 20, 17), make_heads(3))
    with pytest.raises(InsufficientMemory) as caught:
        network.sink(replace(target, shape=(8, 2**20, 2**20)))
    assert "131072.0 GiB" in caught.value.detail
    assert caught.value.action
    assert 0 < caught.value.extra["free_bytes"] < caught.value.extra["total_bytes"]


class _Witness:
    """Passes calls on, and remembers the bytes of all tensors between some of the tiles."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._calls = 0
        self.held: list[int] = []

    def infer(self, tile: Array, mirror_axes: Sequence[int]) -> Any:
        self._calls += 1
        if self._calls % 9 == 1:
            alive = [o for o in gc.get_objects() if type(o) is torch.Tensor]
            sizes = {o.untyped_storage().data_ptr(): o.untyped_storage().nbytes() for o in alive}
            self.held.append(sum(sizes.values()))
        return self._network.infer(tile, mirror_axes)

    def sink(self, target: Target) -> Any:
        return self._network.sink(target)

    def release(self) -> None:
        self._network.release()


def _largest(network: Network, length: int) -> tuple[int, int]:
    """Bytes of the largest tensor that is ever made, and of all between tiles."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watch(TorchDispatchMode):  # type: ignore[misc]
        largest = 0

        def __torch_dispatch__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            made = func(*args, **(kwargs or {}))
            for one in chain(made) if isinstance(made, (list, tuple)) else [made]:
                if isinstance(one, torch.Tensor):
                    self.largest = max(self.largest, one.numel() * one.element_size())
            return made

    target = make_target((length, 20, 17), (length * 2, 40, 34), make_heads(118))
    witness = _Witness(network)
    image = np.random.default_rng(0).standard_normal((2, length, 20, 17))
    with Watch() as watch:
        segment(witness, image.astype(np.float32), target, (), Progress())
    return watch.largest, max(witness.held)


def test_memory_does_not_grow_with_length(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten tiles' length need what three need, and never classes x full resolution."""
    monkeypatch.setitem(torch_sink._CHUNK_BYTES, "cpu", 2**18)
    network = open_network(tiny, describe(tiny, "plain", 118))
    (largest, held), (largest_long, held_long) = (_largest(network, n) for n in (24, 80))
    assert largest_long == largest < 118 * 40 * 34 * 4
    assert held_long < held + 10_000
