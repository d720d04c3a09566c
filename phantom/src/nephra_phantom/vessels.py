"""The arterial and venous trees: aorta, vena cava, renal and iliac vessels."""

from __future__ import annotations

import numpy as np

from nephra_phantom.enhancement import Enhancement
from nephra_phantom.fills import graded
from nephra_phantom.kidneys import Kidney
from nephra_phantom.shapes import Shape, Tube, tube
from nephra_phantom.skeleton import L2_MM
from nephra_phantom.structure import Structure

AORTA, VENA_CAVA, ARTERY, VEIN = 52, 63, 203, 204
FORK_MM = 2.0


def aorta(rng: np.random.Generator) -> Tube:
    """From above the field of view to its fork in front of L4."""
    j = rng.normal(0, 2, 4)
    radius = float(rng.uniform(8.0, 11.5))
    return tube(
        [
            (-8 + j[0], -22, 230),
            (-11 + j[1], -16, 150),
            (-13 + j[1], -13, 75),
            (-11 + j[2], -11, 35),
            (-6 + j[3], -10, FORK_MM),
        ],
        [radius * 1.12, radius * 1.05, radius, radius * 0.92, radius * 0.82],
        6,
    )


def vena_cava(rng: np.random.Generator) -> Tube:
    """From the joining of the iliac veins to above the field of view."""
    j = rng.normal(0, 2, 4)
    radius = float(rng.uniform(9.0, 12.0))
    return tube(
        [
            (10 + j[0], -12, FORK_MM - 14),
            (19 + j[1], -7, 40),
            (21 + j[2], -3, 80),
            (24 + j[3], 4, 140),
            (22, 8, 230),
        ],
        [radius * 0.88, radius * 0.92, radius, radius * 1.1, radius * 1.15],
        6,
    )


def iliacs(origin: Tube, first: bool, front_mm: float, radius: float) -> dict[str, Tube]:
    """Two iliac vessels leaving an end of a trunk, to the groins."""
    start, _ = origin.at(0.0 if first else 1.0)
    found: dict[str, Tube] = {}
    for side, s in (("right", 1.0), ("left", -1.0)):
        points = [
            (float(start[0]), float(start[1]), float(start[2] + (2 if first else 1))),
            (s * 33.0, -13.0 + front_mm, -46.0),
            (s * 52.0, -2.0 + front_mm, -92.0),
            (s * 64.0, 14.0 + front_mm, -190.0),
        ]
        found[side] = tube(points, [radius * 1.1, radius, radius * 0.85, radius * 0.75], 6)
    return found


def renal_arteries(kidney: Kidney, trunk: Tube, rng: np.random.Generator) -> list[Tube]:
    """One or two arteries of a kidney with their branches into the hilum."""
    height = L2_MM + 14 + float(rng.normal(0, 5))
    found = _artery_tree(
        kidney, trunk, height, (-0.42, -0.14, 0.14, 0.4), float(rng.uniform(2.4, 3.2)), rng
    )
    if rng.uniform() < 0.2:
        found += _artery_tree(
            kidney, trunk, height - 26, (-0.5,), float(rng.uniform(1.6, 2.1)), rng
        )
    return found


def _artery_tree(
    kidney: Kidney,
    trunk: Tube,
    height: float,
    targets: tuple[float, ...],
    radius: float,
    rng: np.random.Generator,
) -> list[Tube]:
    s = kidney.sign
    ostium = trunk.points[int(np.argmin(np.abs(trunk.points[:, 2] - height)))]
    hilum = kidney.waypoint(-1.25, 0.12, float(np.mean(targets)) + 0.06)
    behind = -20.0 if s > 0 else -19.0
    middle_x = 0.5 * (s * 20.0 + hilum[0]) + float(rng.normal(0, 2))
    points = [
        (float(ostium[0]), float(ostium[1]), float(ostium[2])),
        (s * 19.0 + (2.0 if s > 0 else -4.0), behind + float(rng.normal(0, 0.7)), height - 1),
        (
            middle_x,
            0.45 * behind + 0.55 * hilum[1] + float(rng.normal(0, 2)),
            0.5 * (height + hilum[2]),
        ),
        hilum,
    ]
    stem = tube(points, [radius * 1.15, radius, radius, radius * 0.9], 4)
    found = [stem]
    for w in targets:
        v = float(rng.choice([-1, 1]) * rng.uniform(0.16, 0.34))
        half = kidney.waypoint(-0.85, 0.1 + 0.5 * v, 0.5 * (w + float(np.mean(targets))))
        tip = kidney.waypoint(
            float(rng.uniform(-0.22, -0.05)), v, w * float(rng.uniform(0.95, 1.15))
        )
        found.append(tube([hilum, half, tip], [radius * 0.85, radius * 0.75, radius * 0.55], 3))
    return found


def renal_veins(
    kidney: Kidney, cava: Tube, aorta_tube: Tube, rng: np.random.Generator
) -> list[Tube]:
    """The vein of a kidney with its branches; the left one passes in front of the aorta."""
    height = float(np.clip(kidney.centre[2] + rng.normal(2, 4), 45, 100))
    mouth = cava.points[int(np.argmin(np.abs(cava.points[:, 2] - height)))]
    radius = float(rng.uniform(4.0, 5.6))
    hilum = kidney.waypoint(-1.2, 0.55, 0.0)
    points = [hilum]
    if kidney.sign < 0:
        crossed = int(np.argmin(np.abs(aorta_tube.points[:, 2] - height)))
        front = aorta_tube.points[crossed] + np.array(
            [0, aorta_tube.radii[crossed] + radius * 0.9, 0]
        )
        points.append((-34.0, 0.5 * (hilum[1] + float(front[1])), 0.5 * (hilum[2] + height)))
        points.append((float(front[0]), float(front[1]), height))
    points.append((float(mouth[0]), float(mouth[1]), float(mouth[2])))
    stem = tube(points, [radius * 0.9] + [radius] * (len(points) - 1), 4)
    found = [stem]
    for w in (-0.38, 0.0, 0.38):
        half = kidney.waypoint(-0.9, 0.36, 0.6 * w)
        tip = kidney.waypoint(float(rng.uniform(-0.35, -0.15)), float(rng.uniform(0.18, 0.32)), w)
        found.append(tube([hilum, half, tip], [radius * 0.75, radius * 0.62, radius * 0.45], 3))
    return found


def pieces(tubes: list[Tube]) -> tuple[Shape, ...]:
    """All capsules of several tubes."""
    return tuple(piece for one in tubes for piece in one.capsules())


def trees(
    kidneys: list[Kidney], enhancement: Enhancement, rng: np.random.Generator
) -> tuple[list[Structure], dict[str, list[Tube]]]:
    """All vessels as structures in painting order, and their centre lines by name."""
    trunk, cava = aorta(rng), vena_cava(rng)
    lines: dict[str, list[Tube]] = {"aorta": [trunk], "inferior_vena_cava": [cava]}
    for kidney in kidneys:
        lines[f"renal_artery_{kidney.side}"] = renal_arteries(kidney, trunk, rng)
        lines[f"renal_vein_{kidney.side}"] = renal_veins(kidney, cava, trunk, rng)
    for side, line in iliacs(trunk, False, 0.0, float(rng.uniform(4.2, 6.0))).items():
        lines[f"iliac_artery_{side}"] = [line]
    for side, line in iliacs(cava, True, -10.0, float(rng.uniform(5.0, 7.0))).items():
        lines[f"iliac_vein_{side}"] = [line]
    blood = enhancement.fills("aorta", 6, 25)
    veins = enhancement.fills("vena_cava", 5, 25)
    low, high = enhancement.table["iliac_vein"]["A"], enhancement.table["renal_vein"]["A"] * 0.9
    veins["A"] = graded(2, low, high, L2_MM - 5, 8.0)
    kinds = {
        "iliac_vein": (VEIN, enhancement.fills("iliac_vein", 6, 20)),
        "renal_vein": (VEIN, enhancement.fills("renal_vein")),
        "inferior_vena_cava": (VENA_CAVA, veins),
        "iliac_artery": (ARTERY, blood),
        "renal_artery": (ARTERY, enhancement.fills("artery")),
        "aorta": (AORTA, blood),
    }
    found = [
        Structure(name, label, pieces(tubes), fills)
        for kind, (label, fills) in kinds.items()
        for name, tubes in lines.items()
        if name.startswith(kind)
    ]
    return found, lines
