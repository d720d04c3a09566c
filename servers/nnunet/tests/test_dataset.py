from __future__ import annotations

from typing import Any

import pytest

from nephra_contract.errors import BundleInvalid
from nephra_nnunet.dataset import MAX_HEADS, channel_count, read_heads
from nephra_nnunet.plans import Heads


def _many(count: int) -> dict[str, int]:
    return {"background": 0, **{f"class {n}": n for n in range(1, count)}}


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        ({"labels": {"kidney": 1}}, "background"),
        ({"labels": {"background": 1, "kidney": 0}}, "background"),
        ({"labels": {"background": [0], "kidney": 1}}, "background"),
        ({"labels": {"background": 0, "a": 1, "b": 3}}, "without gaps"),
        ({"labels": {"background": 0, "a": -1, "b": 1}}, "without gaps"),
        ({"labels": {"background": 0, "a": [1, 2], "b": 2}}, "regions_class_order"),
        (
            {"labels": {"background": 0, "a": [1, 2], "b": 2}, "regions_class_order": [1]},
            "2 regions",
        ),
        ({"labels": {"background": 0, "a": 1, "ignore": 1}}, "one above the highest"),
        ({"labels": {"background": 0, "a": 1, "ignore": [2, 3]}}, "takes it for 2"),
        ({"labels": {"background": 0, "a": "first"}}, "of the kind"),
        ({"labels": {"background": 0, "a": []}}, "of the kind"),
        ({"labels": _many(MAX_HEADS + 1)}, "256 outputs; 255"),
        ({}, "lacks 'labels'"),
    ],
)
def test_labels_that_mean_nothing_are_refused(dataset: dict[str, Any], said: str) -> None:
    """Each mistake has its sentence."""
    with pytest.raises(BundleInvalid, match=said):
        read_heads(dataset)


def test_outputs_are_in_the_order_of_their_numbers() -> None:
    """Whatever the order of the file; a list of one number is that number, and no region."""
    heads = read_heads({"labels": {"b": [2], "background": 0, "a": "1"}})
    assert heads == Heads(("background", "a", "b"), (0, 1, 2), regions=False)


def test_a_number_with_two_names_is_one_output() -> None:
    """It goes by the first; 0 is the background whatever else it is called."""
    heads = read_heads({"labels": {"air": 0, "a": 1, "background": 0, "also a": 1, "b": 2}})
    assert heads.names == ("background", "a", "b")


def test_an_ignore_label_is_no_output() -> None:
    """The network has no head for what was not annotated."""
    heads = read_heads({"labels": {"background": 0, "a": 1, "ignore": 2}})
    assert heads.names == ("background", "a")


def test_regions_keep_the_order_of_the_file() -> None:
    """Background has no output, nor has a region of nothing else, nor the ignore label."""
    labels = {
        "whole": [1, 2, 3], "background": 0, "nothing": [0, 0], "rest": [0, 3],
        "tumor": 2, "ignore": 4,
    }  # fmt: skip
    heads = read_heads({"labels": labels, "regions_class_order": [1, 3, 2]})
    assert heads == Heads(("whole", "rest", "tumor"), (1, 3, 2), regions=True)


def test_as_many_outputs_as_a_byte_has_numbers_are_taken() -> None:
    """255 with the background."""
    assert len(read_heads({"labels": _many(MAX_HEADS)}).names) == MAX_HEADS


def test_channels_may_be_called_modality() -> None:
    """The word of the first version; without either the file is refused."""
    assert channel_count({"modality": {"0": "CT", "1": "CT"}}) == 2
    assert channel_count({"channel_names": {"0": "CT"}}) == 1
    with pytest.raises(BundleInvalid, match="no channels"):
        channel_count({"channel_names": {}})
