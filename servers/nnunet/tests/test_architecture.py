from __future__ import annotations

from typing import Any

import pytest

from nephra_contract.errors import BundleInvalid
from nephra_nnunet.architecture import read_architecture

OLD = {
    "UNet_class_name": "PlainConvUNet",
    "UNet_base_num_features": 4,
    "unet_max_num_features": 10,
    "n_conv_per_stage_encoder": [2, 2, 2],
    "n_conv_per_stage_decoder": [2, 1],
    "pool_op_kernel_sizes": [[1, 1, 1], [2, 2, 2], [1, 2, 2]],
    "conv_kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
}


def _network(tiny: Any, **changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = tiny.plans()["configurations"]["3d_fullres"]
    found["architecture"]["arch_kwargs"].update(changes)
    return found


def test_old_and_new_plans_describe_the_same_network(tiny: Any) -> None:
    """The format of plans before nnU-Net 2.3 gives the same architecture."""
    new = read_architecture(_network(tiny, features_per_stage=[4, 8, 10]), 2, 3)
    assert read_architecture(OLD, 2, 3) == new


def test_numbers_for_all_stages_may_be_one_number(tiny: Any) -> None:
    """A scalar stands for every stage, and for every axis."""
    network = _network(tiny, kernel_sizes=3, n_conv_per_stage=2)
    architecture = read_architecture(network, 1, 2)
    assert architecture.kernels == ((3, 3, 3),) * 3
    assert architecture.encoder_depths == (2, 2, 2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"norm_op": "torch.nn.BatchNorm3d"}, "norm_op 'BatchNorm3d'"),
        ({"nonlin": "torch.nn.ReLU"}, "nonlin 'ReLU'"),
        ({"conv_op": "torch.nn.modules.conv.Conv2d"}, "conv_op 'Conv2d'"),
        ({"nonlin_first": True}, "order of layers"),
        ({"norm_op_kwargs": {"affine": False}}, "without weights"),
        ({"strides": [[1, 1], [2, 2], [2, 2]]}, "three numbers per stage"),
        ({"features_per_stage": [4, 6]}, "3 stages"),
        ({"nonlin": None}, "nonlin 'None'"),
        ({"norm_op": None}, "norm_op 'None'"),
        ({"block": "dynamic_network_architectures.building_blocks.residual.BottleneckD"}, "Bott"),
        ({"squeeze_excitation": True}, "squeeze_excitation"),
        ({"n_stages": 1}, "1 stages"),
        ({"kernel_sizes": None}, "of the kind"),
    ],
)
def test_what_would_be_built_wrongly_is_refused(
    change: dict[str, Any], said: str, tiny: Any
) -> None:
    """Each unknown part is named."""
    with pytest.raises(BundleInvalid, match=said):
        read_architecture(_network(tiny, **change), 1, 2)


def test_dropout_is_silent_at_inference(tiny: Any) -> None:
    """A network that was trained with it is the same without."""
    network = _network(tiny, dropout_op="torch.nn.Dropout3d", dropout_op_kwargs={"p": 0.2})
    assert read_architecture(network, 1, 2) == read_architecture(_network(tiny), 1, 2)


@pytest.mark.parametrize(
    "name",
    ["ResidualUNet", "mine.PlainConvUNet", "dynamic_network_architectures.architectures.primus.P"],
)
def test_a_network_of_the_new_format_is_known_by_its_whole_name(name: str, tiny: Any) -> None:
    """Somebody's own class may have the same last name."""
    network = _network(tiny)
    network["architecture"]["network_class_name"] = name
    with pytest.raises(BundleInvalid, match="only PlainConvUNet and ResidualEncoderUNet"):
        read_architecture(network, 1, 2)


def test_the_residual_encoder_of_nnunets_planner_is_known(tiny: Any) -> None:
    """M and L differ in patch and features only; blocks per stage as the planner writes them."""
    network = _network(tiny, n_blocks_per_stage=[1, 3, 4], n_conv_per_stage_decoder=[1, 1])
    network["architecture"]["arch_kwargs"].pop("n_conv_per_stage")
    for module in ("unet", "residual_unet"):
        name = f"dynamic_network_architectures.architectures.{module}.ResidualEncoderUNet"
        network["architecture"]["network_class_name"] = name
        architecture = read_architecture(network, 1, 2)
        assert (architecture.kind, architecture.encoder_depths) == ("residual", (1, 3, 4))


def test_the_tile_is_halved_along_each_axis_by_its_own_strides(tiny: Any) -> None:
    """Products over the stages."""
    assert read_architecture(_network(tiny), 1, 2).divisors() == (2, 4, 4)


def test_an_unknown_network_is_named() -> None:
    """The plans of a public variant of nnU-Net are refused with the network's name."""
    with pytest.raises(BundleInvalid, match="'neUNet'"):
        read_architecture({**OLD, "UNet_class_name": "neUNet"}, 1, 2)


def test_the_size_of_known_networks_is_right() -> None:
    """Five stages of a published 3 mm model have 16.6 million parameters."""
    described = {
        **OLD,
        "UNet_base_num_features": 32,
        "unet_max_num_features": 320,
        "n_conv_per_stage_encoder": [2] * 5,
        "n_conv_per_stage_decoder": [2] * 4,
        "pool_op_kernel_sizes": [[1, 1, 1]] + [[2, 2, 2]] * 4,
        "conv_kernel_sizes": [[3, 3, 3]] * 5,
    }
    count = 0
    for shape in read_architecture(described, 1, 118).shapes().values():
        size = 1
        for length in shape:
            size *= length
        count += size
    assert count == pytest.approx(16.6e6, rel=0.01)
