"""Whether an image is of the contrast phase that it was offered as, judged by enhancement.

Arterial, portal-venous and excretory scans differ in how bright the great vessels, the renal
parenchyma and the urine are (Heiken & Heller, Radiology of the kidney; usual protocols at
25-35 s, 70 s and beyond 5 min). The thresholds are wide: only a clear contradiction is said.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import numpy as np

from nephra_contract import labels as names
from nephra_contract.errors import Unprocessable
from nephra_contract.volume import LabelMap, Volume
from nephra_nnunet.manifest import Phase

PHASE_NAMES = {"A": "arterial", "P": "portal-venous", "D": "delayed"}
_MIN_VOXELS = 20
_BRIGHT_URINE_HU = 200.0


class PhaseContradicted(Unprocessable):
    """An image that cannot be of the phase that it was offered as."""

    default_code = "phase_contradicted"
    title = "The image contradicts its phase"


@dataclass(frozen=True)
class Enhancement:
    """Median HU within structures; None where a structure is not labelled.

    Args:
        artery_hu: aorta or renal arteries.
        vein_hu: inferior vena cava or renal veins.
        kidney_hu: renal parenchyma.
        urine_hu: ureters and pelves.
    """

    artery_hu: float | None
    vein_hu: float | None
    kidney_hu: float | None
    urine_hu: float | None

    def named(self) -> dict[str, float]:
        """What is known, as a manifest says it."""
        return {k: round(v, 1) for k, v in asdict(self).items() if v is not None}


def measure(image: Volume, labels: LabelMap) -> Enhancement:
    """Median HU of the structures that are labelled on the image's own grid."""
    return Enhancement(
        artery_hu=_median(image, labels, (names.AORTA, names.ARTERY)),
        vein_hu=_median(image, labels, (names.INFERIOR_VENA_CAVA, names.VEIN)),
        kidney_hu=_median(image, labels, names.KIDNEYS),
        urine_hu=_median(image, labels, (*names.URETERS, names.RENAL_PELVIS)),
    )


def contradictions(found: Enhancement, phase: Phase) -> list[str]:
    """What speaks against the phase; empty if nothing clearly does."""
    return list({"A": _arterial, "P": _portal, "D": _delayed}[phase](found))


def judge(found: Enhancement, phase: Phase, strict: bool) -> str | None:
    """A sentence for the caller where the image contradicts its phase.

    Raises:
        PhaseContradicted: it does, and `strict` asks for an error.
    """
    against = contradictions(found, phase)
    if not against:
        return None
    said = (
        f"The image offered as {PHASE_NAMES[phase]} ({phase}) does not look like it: "
        f"{'; '.join(against)}."
    )
    if strict:
        raise PhaseContradicted(
            said,
            "Check which series is which phase, or leave out 'strict_phases'.",
            phase=phase,
            enhancement_hu=found.named(),
        )
    return said


def _arterial(found: Enhancement) -> Iterator[str]:
    artery, vein = found.artery_hu, found.vein_hu
    if artery is not None and artery < 130:
        yield f"the arteries have {artery:.0f} HU, 130 or more are expected"
    elif artery is not None and vein is not None and artery - vein < 30:
        yield f"the veins are nearly as bright as the arteries ({vein:.0f} and {artery:.0f} HU)"
    if found.urine_hu is not None and found.urine_hu > _BRIGHT_URINE_HU:
        yield f"there is contrast in the urine ({found.urine_hu:.0f} HU)"


def _portal(found: Enhancement) -> Iterator[str]:
    artery, vein = found.artery_hu, found.vein_hu
    if artery is not None and vein is not None and artery - vein > 100:
        yield (
            f"the arteries are far brighter than the veins ({artery:.0f} and {vein:.0f} HU), "
            "as in the arterial phase"
        )
    if vein is not None and vein < 80:
        yield f"the veins have {vein:.0f} HU, 80 or more are expected"
    if found.urine_hu is not None and found.urine_hu > _BRIGHT_URINE_HU:
        yield f"there is contrast in the urine ({found.urine_hu:.0f} HU)"


def _delayed(found: Enhancement) -> Iterator[str]:
    artery, vein, urine = found.artery_hu, found.vein_hu, found.urine_hu
    if artery is not None and artery > 180:
        yield f"the arteries have {artery:.0f} HU, as early after the injection"
    elif artery is not None and vein is not None and artery - vein > 60:
        yield (
            f"the arteries are far brighter than the veins ({artery:.0f} and {vein:.0f} HU), "
            "as early after the injection"
        )
    if found.kidney_hu is not None and found.kidney_hu < 60:
        yield f"the kidneys have {found.kidney_hu:.0f} HU, as without contrast"
    if urine is not None and urine < 80:
        yield f"there is no contrast in the ureters ({urine:.0f} HU)"


def _median(image: Volume, labels: LabelMap, wanted: tuple[int, ...]) -> float | None:
    values = image.voxels[labels.mask(wanted)]
    return float(np.median(values)) if values.size >= _MIN_VOXELS else None
