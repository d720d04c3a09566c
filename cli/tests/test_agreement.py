"""Dice against the phantom's truth."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nephra_cli.demo.agreement import dice, dice_by_name
from nephra_contract.volume import LabelMap

AFFINE = np.diag([1.0, 1.0, 1.0, 1.0]) - np.array([[0, 0, 0, 5.0]] + [[0.0] * 4] * 3)


def labelled(**boxes: tuple[int, slice, slice]) -> LabelMap:
    """A 10 x 10 x 4 map with boxes: (number, along x, along y)."""
    voxels: NDArray[np.uint8] = np.zeros((10, 10, 4), dtype=np.uint8)
    for number, x, y in boxes.values():
        voxels[x, y] = number
    return LabelMap(voxels, AFFINE)


def test_dice_is_twice_the_common_part_by_the_sum() -> None:
    """Equal masks give 1, apart ones 0, half of the other 2/3."""
    one = np.array([True, True, False, False])
    assert dice(one, one) == 1
    assert dice(one, ~one) == 0
    assert dice(one, np.array([True, False, False, False])) == pytest.approx(2 / 3)


def test_an_artery_is_judged_by_the_whole_tree() -> None:
    """The model's artery is aorta and branches; the truth has them apart."""
    truth = labelled(aorta=(52, slice(0, 2), slice(0, 4)), branch=(203, slice(2, 4), slice(0, 4)))
    mask = labelled(tree=(203, slice(0, 4), slice(0, 4)))
    assert dice_by_name(mask, {"A": truth}) == {"artery": 1.0}


def test_a_ureter_is_judged_in_the_delayed_phase_with_its_pelvis() -> None:
    """Where it lay when it was seen; of the pelves only its own side's counts."""
    kidneys = {"r": (2, slice(8, 10), slice(6, 10)), "l": (3, slice(0, 2), slice(6, 10))}
    pelves = {
        "pr": (208, slice(7, 8), slice(5, 6)),
        "pl": (208, slice(2, 3), slice(5, 6)),
        "ur": (206, slice(7, 8), slice(1, 5)),
        "ul": (207, slice(2, 3), slice(1, 5)),
    }
    arterial = labelled(**kidneys)
    delayed = labelled(**kidneys, **pelves)
    mask = labelled(
        **kidneys,
        ur=(206, slice(7, 8), slice(1, 6)),
        ul=(207, slice(2, 3), slice(1, 6)),
    )
    found = dice_by_name(mask, {"A": arterial, "D": delayed})
    assert found == dict.fromkeys(
        ("kidney_right", "kidney_left", "ureter_right", "ureter_left"), 1.0
    )


def test_what_the_mask_lacks_is_listed_with_nothing() -> None:
    """A missed tumour is not left out of the table."""
    truth = labelled(kidney=(2, slice(6, 9), slice(0, 9)), tumor=(201, slice(9, 10), slice(0, 9)))
    mask = labelled(kidney=(2, slice(6, 9), slice(0, 9)))
    assert dice_by_name(mask, {"A": truth}) == {"kidney_right": 1.0, "tumor": 0.0}


def test_what_the_truth_does_not_know_has_no_dice() -> None:
    """None, not 0: nobody can say how well it was found."""
    truth = labelled(kidney=(2, slice(6, 9), slice(0, 9)))
    mask = labelled(kidney=(2, slice(6, 9), slice(0, 9)), spleen=(1, slice(0, 2), slice(0, 2)))
    assert dice_by_name(mask, {"A": truth}) == {"spleen": None, "kidney_right": 1.0}
