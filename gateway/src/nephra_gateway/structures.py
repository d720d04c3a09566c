"""What a request may call structures, and which model each of them comes from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from nephra_contract import labels as names
from nephra_contract.errors import RequestInvalid

Source = Literal["totalseg", "tumor", "vessel", "ureter", "fat"]

#: Words that people use, beside the names and groups of the table.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "organs": ("organ", "urinary_bladder"),
    "bones": ("bone",),
    "muscles": ("muscle",),
    "kidneys": ("kidney",),
    "tumour": ("tumor",),
    "cysts": ("cyst",),
    "arteries": ("artery",),
    "veins": ("vein",),
    "vessels": ("artery", "vein"),
    "ureters": ("ureter",),
}

#: Tubes that the vessel model draws with their branches; totalseg's own make room for them.
REPLACED = frozenset({names.AORTA, names.INFERIOR_VENA_CAVA})

_OF_VESSEL = frozenset({names.ARTERY, names.VEIN})
_OF_URETER = frozenset({*names.URETERS, names.RENAL_PELVIS})

#: Words that mean what one model makes, not all that the table files under them.
_ONE_MODEL: Mapping[str, frozenset[int]] = {
    "artery": frozenset({names.ARTERY}),
    "vein": frozenset({names.VEIN}),
    "ureter": _OF_URETER,
    "fat": frozenset({names.PERIRENAL_FAT}),
}


def numbers_of(structures: Iterable[str]) -> frozenset[int]:
    """The labels that a request's words stand for.

    A word that is a name and a group (`kidney`) stands for the group.

    Raises:
        RequestInvalid: words that are neither.
    """
    wanted: set[int] = set()
    strangers: list[str] = []
    for word in structures:
        for name in ALIASES.get(word, (word,)):
            found = _expand(name)
            wanted |= found
            if not found:
                strangers.append(word)
    if strangers:
        raise RequestInvalid(
            f"'structures' names what nephra does not know: {', '.join(strangers[:10])}.",
            "Use the names and groups of GET /labels, for example kidney, tumor, artery, ureter.",
            strangers=strangers[:100],
        )
    return frozenset(wanted)


def source_of(number: int) -> Source:
    """The step whose mask a label is taken from."""
    label = names.table()[number]
    if label.group in ("kidney", "tumor", "cyst"):
        return "tumor"
    if number in _OF_VESSEL:
        return "vessel"
    if number in _OF_URETER:
        return "ureter"
    if number == names.PERIRENAL_FAT:
        return "fat"
    return "totalseg"


def everything() -> frozenset[int]:
    """All labels of the table."""
    return frozenset(names.table())


def _expand(name: str) -> frozenset[int]:
    if name in _ONE_MODEL:
        return _ONE_MODEL[name]
    number = names.numbers().get(name)
    return frozenset(names.group(name)) | frozenset(() if number is None else (number,))
