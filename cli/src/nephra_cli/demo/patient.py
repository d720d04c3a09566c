"""The synthetic patient of the demo: three phases as NIfTI, and what is true of them."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nephra_contract.errors import Unavailable
from nephra_contract.nifti import write_image, write_labels
from nephra_contract.volume import LabelMap, Volume

FILES: Mapping[str, str] = {"A": "arterial", "P": "portal", "D": "delayed"}


@dataclass(frozen=True)
class Patient:
    """A phantom on one grid.

    Args:
        images: phase → CT in HU.
        truth: phase → label map of the anatomy as it lay in that phase.
    """

    images: Mapping[str, Volume]
    truth: Mapping[str, LabelMap]

    def write(self, folder: Path) -> dict[str, Path]:
        """Write `arterial`, `portal`, `delayed` and the truth of each (`.nii.gz`).

        Returns:
            phase → path of the CT.
        """
        folder.mkdir(parents=True, exist_ok=True)
        paths = {}
        for phase, image in self.images.items():
            paths[phase] = folder / f"{FILES[phase]}.nii.gz"
            write_image(paths[phase], image)
            write_labels(folder / f"{FILES[phase]}-truth.nii.gz", self.truth[phase])
        return paths


def make_patient(seed: int, size: str) -> Patient:
    """Draw the patient of a seed.

    Args:
        seed: the same seed is the same patient.
        size: one of the phantom's presets, `small` (2.2 mm) or `large` (0.7 mm).

    Raises:
        Unavailable: the phantom or the drawing library is not installed.
    """
    absent = [m for m in ("nephra_phantom", "matplotlib") if importlib.util.find_spec(m) is None]
    if absent:
        raise Unavailable(
            f"The demo needs packages that are not installed: {', '.join(absent)}.",
            "Install them with `pip install nephra-cli[demo]`.",
            code="demo_missing",
        )
    from nephra_phantom import PHASES, PRESETS, Phantom

    phantom, grid = Phantom(seed), PRESETS[size]
    return Patient(
        {phase: phantom.volume(phase, grid) for phase in PHASES},
        {phase: phantom.labels(grid, phase) for phase in PHASES},
    )
