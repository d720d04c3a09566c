"""The label table."""

from __future__ import annotations

import numpy as np
import pytest

from nephra_contract import labels
from nephra_contract.errors import LabelsUnknown, RequestInvalid


def test_numbers_and_names_are_unique_and_fit_a_byte() -> None:
    """Masks are uint8; objects are found by name."""
    table = labels.table()
    assert len({label.name for label in table.values()}) == len(table)
    assert all(1 <= n <= 255 for n in table)


def test_constants_are_what_the_table_says() -> None:
    """The names in code and the table cannot drift apart."""
    for name, number in labels.numbers().items():
        constant = getattr(labels, name.upper(), number)
        assert constant == number, name
    assert labels.numbers()["tumor"] == labels.TUMOR == 201
    assert labels.numbers()["kidney_cyst_left"] == labels.CYST_LEFT


def test_colours_are_stable_distinct_and_valid() -> None:
    """A surgeon finds the same colour in every scene."""
    colours = [label.rgba for label in labels.table().values()]
    assert all(0 <= c <= 1 for colour in colours for c in colour)
    pair = labels.table()[labels.ARTERY].rgba, labels.table()[labels.VEIN].rgba
    assert pair[0][0] > 0.6 > pair[0][2], "arteries are red"
    assert pair[1][2] > 0.6 > pair[1][0], "veins are blue"


def test_totalsegmentator_v1_is_mapped_by_name() -> None:
    """v1's kidney_right is 2, its aorta 7; the chambers of the heart become one heart."""
    out = labels.to_nephra(np.array([0, 2, 3, 7, 44, 45, 104]), "totalseg_v1")
    by_name = [0, *(labels.numbers()[n] for n in ("kidney_right", "kidney_left", "aorta"))]
    assert out.tolist() == [*by_name, 51, 51, labels.URINARY_BLADDER]
    assert len(labels.mapping("totalseg_v1")) == 104


def test_totalsegmentator_v2_is_itself() -> None:
    """Its 117 numbers are ours."""
    assert dict(labels.mapping("totalseg_v2")) == {n: n for n in range(1, 118)}


def test_kits_is_mapped() -> None:
    """1 kidney, 2 tumour, 3 cyst."""
    out = labels.to_nephra(np.array([[[0, 1, 2, 3]]], dtype=np.uint8), "kits")
    assert out.ravel().tolist() == [0, labels.KIDNEY, labels.TUMOR, labels.CYST]


def test_a_table_of_ones_own_is_taken() -> None:
    """{name: number} with our names."""
    out = labels.to_nephra(np.array([0, 4, 9]), {"artery": 4, "vein": 9})
    assert out.tolist() == [0, labels.ARTERY, labels.VEIN]


@pytest.mark.parametrize(
    ("space", "strangers"),
    [("kits", [4, 200]), ("totalseg_v2", [200]), ({"artery": 1}, [4, 200])],
)
def test_numbers_outside_of_the_table_are_listed(
    space: labels.LabelSpace, strangers: list[int]
) -> None:
    """422 with the strangers, never dropped."""
    with pytest.raises(LabelsUnknown) as error:
        labels.to_nephra(np.array([0, 1, 4, 200]), space)
    assert error.value.extra["strangers"] == strangers


def test_negative_and_huge_numbers_are_strangers() -> None:
    """They neither wrap around nor take memory."""
    with pytest.raises(LabelsUnknown) as error:
        labels.to_nephra(np.array([-3, 10**9]), "nephra")
    assert error.value.extra["strangers"] == [-3, 10**9]


@pytest.mark.parametrize("space", [{"no_such": 1}, {"artery": 1, "vein": 1}, {"artery": 0}])
def test_tables_that_make_no_sense_are_refused(space: dict[str, int]) -> None:
    """Unknown names, one number twice, and the background."""
    with pytest.raises(RequestInvalid):
        labels.mapping(space)


def test_an_empty_array_stays_empty() -> None:
    """Nothing present, nothing strange."""
    assert labels.to_nephra(np.zeros((0, 3, 3), np.int16), "kits").shape == (0, 3, 3)


def test_the_description_beside_a_mask_names_what_is_in_it() -> None:
    """Number, group and colour by name."""
    described = labels.describe([201, 2])
    assert list(described) == ["kidney_right", "tumor"]
    assert described["tumor"]["number"] == 201
    assert labels.name_of(250) == "label_250"
    assert labels.group("cyst") == (23, 24, 202)
