"""Mean HU of tissues in each phase, drawn per patient around textbook values.

N is the native scan, A arterial (25-35 s), P portal-venous (70 s), D delayed (excretory, 8 min).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nephra_phantom.fills import Fill, Phase, flat, textured

# tissue: native HU, gain over it at A, P, D, and the spread (HU) between patients
_TISSUES: dict[str, tuple[float, float, float, float, float]] = {
    "aorta": (42, 268, 118, 62, 22),
    "artery": (42, 250, 115, 62, 20),
    "vena_cava": (40, 20, 118, 60, 14),
    "renal_vein": (40, 92, 132, 62, 16),
    "iliac_vein": (40, 4, 92, 58, 12),
    "cortex": (32, 138, 155, 92, 16),
    "medulla": (32, 42, 142, 98, 12),
    "liver": (55, 12, 55, 32, 9),
    "spleen": (48, 70, 72, 40, 9),
    "muscle": (52, 6, 12, 10, 6),
    "bowel": (30, 22, 40, 22, 12),
    "wall": (35, 30, 50, 30, 8),
    "bladder": (6, 0, 2, 10, 4),
    "fluid": (8, 1, 2, 2, 4),
}


@dataclass(frozen=True)
class Enhancement:
    """One patient's tissue HU."""

    table: dict[str, dict[Phase, float]]
    rng: np.random.Generator

    def fills(
        self, tissue: str, texture_hu: float = 0.0, length_mm: float = 20.0
    ) -> dict[Phase, Fill]:
        """A fill per phase for one tissue; the texture is the same tissue's in all phases."""
        seed = int(self.rng.integers(2**31))
        return {
            phase: textured(hu, texture_hu, length_mm, np.random.default_rng(seed))
            if texture_hu
            else flat(hu)
            for phase, hu in self.table[tissue].items()
        }


def draw(rng: np.random.Generator) -> Enhancement:
    """Draw a patient's enhancement: tissue spreads, and how strong and how late the contrast is."""
    strength = {phase: float(rng.uniform(0.82, 1.12)) for phase in ("A", "P", "D")}
    table: dict[str, dict[Phase, float]] = {}
    for tissue, (native, arterial, portal, delayed, spread) in _TISSUES.items():
        base = native + rng.normal(0, 4)
        shift = rng.normal(0, spread)
        table[tissue] = {
            "N": base,
            "A": base + strength["A"] * arterial + shift * min(1.0, arterial / 40),
            "P": base + strength["P"] * portal + 0.6 * shift,
            "D": base + strength["D"] * delayed + 0.5 * shift,
        }
    return Enhancement(table, rng)


def constant(
    hu: float, texture_hu: float = 0.0, seed: int = 0, length_mm: float = 15.0
) -> dict[Phase, Fill]:
    """The same HU in every phase: bone, fat, gas."""
    phases: tuple[Phase, ...] = ("A", "P", "D", "N")
    if not texture_hu:
        return dict.fromkeys(phases, flat(hu))
    return {p: textured(hu, texture_hu, length_mm, np.random.default_rng(seed)) for p in phases}
