from __future__ import annotations

import pytest

from nephra_contract import labels
from nephra_contract.errors import RequestInvalid
from nephra_gateway.structures import ALIASES, everything, numbers_of, source_of


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        (["tumor"], {201}),
        (["tumour"], {201}),
        (["kidney"], {2, 3, 200}),
        (["kidney_left"], {3}),
        (["cyst"], {23, 24, 202}),
        (["artery"], {203}),
        (["vessels"], {203, 204}),
        (["aorta"], {52}),
        (["ureter"], {205, 206, 207, 208}),
        (["ureter_left"], {207}),
        (["fat"], {209}),
        (["liver", "tumor"], {5, 201}),
    ],
)
def test_words_stand_for_labels(words: list[str], numbers: set[int]) -> None:
    """Names, groups, and the plurals that people write."""
    assert numbers_of(words) == numbers


def test_organs_hold_the_bladder_and_no_kidney() -> None:
    """What is around the kidneys."""
    organs = numbers_of(["organs"])
    assert {5, labels.URINARY_BLADDER} <= organs
    assert not organs & set(labels.KIDNEYS)


def test_strangers_are_listed() -> None:
    """All of them at once."""
    with pytest.raises(RequestInvalid) as refused:
        numbers_of(["kidney", "soul", "spirit"])
    assert refused.value.extra["strangers"] == ["soul", "spirit"]


def test_every_alias_means_something() -> None:
    """A word in the list that stands for nothing would be a trap."""
    for word in ALIASES:
        assert numbers_of([word])


def test_every_label_has_one_source() -> None:
    """The five masks that a scene is merged of."""
    assert {source_of(n) for n in everything()} == {"totalseg", "tumor", "vessel", "ureter", "fat"}
    assert source_of(labels.AORTA) == "totalseg"
    assert source_of(labels.CYST_LEFT) == "tumor"
