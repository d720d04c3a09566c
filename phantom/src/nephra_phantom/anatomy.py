"""One patient: every structure in painting order and every centre line, drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nephra_phantom import kidneys, skeleton, torso, vessels
from nephra_phantom.enhancement import constant, draw
from nephra_phantom.kidneys import URETER, Kidney
from nephra_phantom.shapes import Ellipsoid, Point, Tube
from nephra_phantom.structure import Structure


@dataclass(frozen=True)
class Anatomy:
    """Structures in painting order (later covers earlier) and tubes by name, at rest."""

    structures: tuple[Structure, ...]
    tubes: dict[str, list[Tube]]


def build_anatomy(seed: int) -> Anatomy:
    """Draw a patient: the same seed is the same patient."""
    rng = np.random.default_rng([seed, 0])
    enhancement = draw(rng)
    build = torso.draw_build(rng)
    pair = [kidneys.draw_kidney(side, build, rng) for side in ("right", "left")]
    fat = constant(float(rng.uniform(-112, -95)), 6, int(rng.integers(2**31)))
    bladder = torso.bladder(enhancement, rng)
    painted = torso.outline(build, enhancement, rng)
    painted += torso.bowel(build, enhancement, rng)
    painted += torso.organs(build, enhancement, rng)
    painted += [kidneys.perirenal_fat(kidney, build, rng, fat) for kidney in pair]
    painted += [one for one in painted if one.name == "psoas"]
    painted += skeleton.pelvis_bones(rng) + skeleton.spine(rng) + skeleton.ribs(build, rng)
    painted += bladder
    for kidney in pair:
        painted += kidneys.parenchyma(kidney, enhancement, rng)
    vascular, tubes = vessels.trees(pair, enhancement, rng)
    painted += vascular
    for kidney in pair:
        painted += _urinary(kidney, bladder, tubes, rng)
    painted += _lesions(pair, rng)
    return Anatomy(tuple(painted), tubes)


def _urinary(
    kidney: Kidney, bladder: list[Structure], tubes: dict[str, list[Tube]], rng: np.random.Generator
) -> list[Structure]:
    shape = bladder[0].parts[0]
    assert isinstance(shape, Ellipsoid)
    entry = shape.centre + shape.radii * np.array([kidney.sign * 0.42, -0.68, -0.2])
    pelvis, ureter = kidneys.urinary_tract(kidney, entry, rng)
    tubes[f"renal_pelvis_{kidney.side}"] = pelvis
    tubes[f"ureter_{kidney.side}"] = [ureter]
    of_pelvis, of_ureter = kidneys.urine_fills(rng)
    return [
        Structure(
            f"ureter_{kidney.side}", URETER[kidney.side], vessels.pieces([ureter]), of_ureter
        ),
        Structure(f"renal_pelvis_{kidney.side}", kidneys.PELVIS, vessels.pieces(pelvis), of_pelvis),
    ]


def _lesions(pair: list[Kidney], rng: np.random.Generator) -> list[Structure]:
    """One tumour (sometimes a second on the other side) and one to three cysts."""
    order = [pair[n] for n in rng.permutation(2)]
    masses = [kidneys.tumour(order[0], rng)]
    if rng.uniform() < 0.15:
        masses.append(kidneys.tumour(order[1], rng))
    centre = _centre(masses[0])
    found = [kidneys.cyst(order[int(rng.integers(0, 2))], rng, centre)]
    if rng.uniform() < 0.5:
        found.append(kidneys.cyst(order[1], rng, order[1].centre + order[1].axes[:, 2]))
    return found + masses


def _centre(mass: Structure) -> Point:
    low, high = mass.bounds()
    middle: Point = 0.5 * (low + high)
    return middle
