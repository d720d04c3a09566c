"""What each demo model learns: channels, classes, spacing and size of its network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nephra_phantom.fills import Phase

TRAINING_SEEDS = range(1000, 1200)
VALIDATION_SEEDS = range(2000, 2004)
UNSEEN_SEEDS = range(9000, 9010)


@dataclass(frozen=True)
class Task:
    """One model.

    ``inputs``: per channel, the phases it may be. ``classes``: nnU-Net class name → our number
    and the truth numbers that count as it. ``patch``: voxels (x, y, z are alike).
    """

    name: str
    dataset_id: int
    inputs: tuple[tuple[Phase, ...], ...]
    classes: Mapping[str, tuple[int, tuple[int, ...]]]
    spacing_mm: float
    patch: int
    features: tuple[int, ...]
    cases: int
    uses_real_ct: bool = False
    extra_phases: tuple[Phase, ...] = field(default=())

    @property
    def dataset_name(self) -> str:
        """nnU-Net's name of the data set."""
        return f"Dataset{self.dataset_id:03d}_nephra_{self.name}"

    @property
    def labels(self) -> dict[str, int]:
        """nnU-Net's class numbers, background first."""
        return {"background": 0, **{name: n + 1 for n, name in enumerate(self.classes)}}

    @property
    def numbers(self) -> dict[str, int]:
        """Class name → number in our label table."""
        return {name: number for name, (number, _) in self.classes.items()}

    def target(self, truth: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Truth in our numbers → this task's class numbers."""
        table = np.zeros(256, np.uint8)
        for n, (_, members) in enumerate(self.classes.values()):
            table[list(members)] = n + 1
        return table[truth]


KIDNEY = {"kidney": (200, (2, 3))}
ANY: tuple[Phase, ...] = ("A", "P", "D")

TASKS: dict[str, Task] = {
    "totalseg": Task(
        "totalseg",
        901,
        (ANY,),
        {
            "spleen": (1, (1,)),
            **KIDNEY,
            "liver": (5, (5,)),
            "urinary_bladder": (21, (21,)),
            "aorta": (52, (52,)),
            "inferior_vena_cava": (63, (63,)),
            "spine": (210, (210,)),
            "ribs": (211, (211,)),
        },
        3.0,
        64,
        (16, 32, 64, 96),
        100,
        uses_real_ct=True,
        extra_phases=("N",),
    ),
    "vessel": Task(
        "vessel",
        902,
        (("A",), ("P",)),
        {**KIDNEY, "artery": (203, (52, 203)), "vein": (204, (63, 204))},
        2.2,
        64,
        (12, 24, 48, 64, 64),
        70,
    ),
    "ureter": Task(
        "ureter",
        903,
        (("D",),),
        {**KIDNEY, "ureter": (205, (206, 207, 208))},
        2.2,
        64,
        (12, 24, 48, 64, 64),
        80,
    ),
    "tumor": Task(
        "tumor",
        904,
        (ANY,),
        {**KIDNEY, "tumor": (201, (201,)), "cyst": (202, (202,))},
        2.5,
        64,
        (16, 32, 64, 96),
        130,
    ),
}
