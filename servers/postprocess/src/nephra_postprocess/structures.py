"""What requests may call structures, and which labels are branches of one tree."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nephra_contract import labels as names
from nephra_contract.errors import RequestInvalid

#: Blood that is no part of the systemic tree: joined only when asked for by name.
_APART = frozenset(
    names.numbers()[n]
    for n in ("portal_vein_and_splenic_vein", "pulmonary_vein", "pulmonary_artery")
)


@dataclass(frozen=True)
class Tree:
    """Labels whose tubes belong together, and may be joined with each other.

    Args:
        name: as requests and reports call it.
        numbers: the labels, ascending.
    """

    name: str
    numbers: tuple[int, ...]


def tree(name: str) -> Tree:
    """The tree that a vessel's name stands for: `artery`, `vein`, or one label of theirs.

    Raises:
        RequestInvalid: no such name, or not a vessel.
    """
    vessels = {*names.group("artery"), *names.group("vein")}
    if name in ("artery", "vein"):
        return Tree(name, tuple(n for n in names.group(name) if n not in _APART))
    number = names.numbers().get(name)
    if number not in vessels:
        raise RequestInvalid(
            f"'structures' names '{name}', which is no vessel.",
            "Use artery, vein, aorta, inferior_vena_cava or another vessel of GET /labels.",
            strangers=[name],
        )
    return Tree(name, (number,))


def numbers_of(wanted: Iterable[str], member: str) -> tuple[int, ...]:
    """The labels that names of structures and of groups stand for, ascending.

    A name that is both (`artery`, `kidney`) stands for the group: all that is of its kind.

    Raises:
        RequestInvalid: a name that is neither.
    """
    groups = _groups()
    strangers = sorted({n for n in wanted if n not in groups and n not in names.numbers()})
    if strangers:
        raise RequestInvalid(
            f"'{member}' names structures that nephra does not know: {', '.join(strangers)}.",
            "Use the names or groups that GET /labels lists.",
            strangers=strangers,
        )
    return tuple(
        sorted({n for name in wanted for n in groups.get(name, (names.numbers().get(name, 0),))})
    )


def _groups() -> Mapping[str, tuple[int, ...]]:
    return {g: names.group(g) for g in {label.group for label in names.table().values()}}
