"""Template anatomies: the packaged one, and the user's."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from typing import Self

import numpy as np
from scipy import ndimage

from nephra_contract import labels as names
from nephra_contract.nifti import read_labels
from nephra_contract.orientation import canonical
from nephra_contract.sides import assign_sides
from nephra_contract.volume import LabelMap
from nephra_postprocess.atlas.lines import Lines
from nephra_postprocess.atlas.outlines import Outlines
from nephra_postprocess.atlas.skeletons import erased, find_lines
from nephra_postprocess.coarse import LESIONS, SIDES
from nephra_postprocess.region import box_of, present

#: Structures of a user's template that are carried as centre lines: narrower than its voxels
#: may be apart in the patient. Aorta and vena cava are wide enough to be looked up.
_NUMBERS = names.numbers()
THIN = (
    *names.URETERS,
    names.RENAL_PELVIS,
    names.ARTERY,
    names.VEIN,
    *(n for name, n in _NUMBERS.items() if name.startswith("iliac_")),
)


@dataclass(frozen=True)
class Template:
    """An anatomy that can be carried.

    Args:
        labels: axes along right, front, head; kidneys with sides, without lesions and without
            what `lines` hold.
        outlines: of its kidneys.
        lines: its thin structures.
    """

    labels: LabelMap
    outlines: Outlines
    lines: Lines

    @classmethod
    def of(cls, labels: LabelMap) -> Self:
        """From a user's label map."""
        sided = canonical(assign_sides(labels))
        thin = [n for n in THIN if n in present(sided.voxels)]
        plain = _without_lesions(erased(sided, thin))
        return cls(plain, Outlines.of(plain), find_lines(sided, thin))

    @property
    def structures(self) -> dict[str, str]:
        """By name, how each structure is carried: as `voxels` or as `centre line`."""
        carried = dict.fromkeys(present(self.labels.voxels), "voxels")
        carried.update(dict.fromkeys(np.unique(self.lines.labels).tolist(), "centre line"))
        return {names.name_of(n): carried[n] for n in sorted(carried)}


@cache
def packaged() -> Template:
    """The template that comes with this package.

    It is a phantom of nephra's own, synthetic, no patient's data, written by
    `python -m nephra_phantom.template`: organs on a grid of 1.6 mm, vessels and urinary tract
    as centre lines.
    """
    folder = files("nephra_postprocess.atlas")
    with as_file(folder.joinpath("template.nii.gz")) as path:
        labels = canonical(read_labels(path))
    with as_file(folder.joinpath("template_lines.json")) as path:
        lines = Lines.read(path)
    return Template(labels, Outlines.of(labels), lines)


def _without_lesions(template: LabelMap) -> LabelMap:
    """The template with its tumour and cysts turned into the kidney they lie in.

    What is ill in a template says nothing of a patient.
    """
    box = box_of(template, (*SIDES.values(), *LESIONS))
    if box is None:
        return template
    part = template.crop(box)
    lesions, kidney = part.mask(LESIONS), part.mask(tuple(SIDES.values()))
    if not lesions.any() or not kidney.any():
        return template
    _, nearest = ndimage.distance_transform_edt(
        ~kidney, sampling=template.spacing_mm, return_indices=True
    )
    voxels = template.voxels.copy()
    voxels[box][lesions] = part.voxels[tuple(axis[lesions] for axis in nearest)]
    return template.like(voxels)
