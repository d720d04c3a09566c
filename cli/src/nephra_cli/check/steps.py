"""The checks, each on inputs of which the truth is known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nephra_cli.check.findings import Failure, Findings, Skip
from nephra_cli.check.installation import Installation
from nephra_cli.check.specimen import Specimen
from nephra_cli.demo.surfaces import Surface, read_obj
from nephra_contract import labels as names
from nephra_contract.nifti import read_labels
from nephra_contract.volume import LabelMap

#: The demo's model finds more in this patient; a wrong side, axis or number finds nothing.
_LEAST_DICE = {"kidney_right": 0.7, "kidney_left": 0.7, "liver": 0.8}
#: Who says so of itself is held to it; other models need not know phantoms.
_DEMONSTRATION = "synthetic"
_LEAST_FAT_ML = 20.0
#: A bridge is drawn along a guess at the course, not along the course itself.
_NEAR_MM = 5.0
#: Surfaces are smooth where masks have steps; most of all those of tubes.
_VOLUME_ERROR, _TUBE_ERROR = 0.03, 0.06
_TUBES = ("artery", "vein", "urinary")


@dataclass(frozen=True)
class Steps:
    """All checks of an installation.

    Args:
        installation: what is examined.
        specimen: what it is given.
    """

    installation: Installation
    specimen: Specimen

    def run(self, findings: Findings) -> None:
        """Do all checks, in an order in which the first failure tells most."""
        checks: dict[str, Callable[[], str]] = {
            "readiness": self.readiness,
            "operations": self.operations,
            "labels": self.labels,
            "inference/totalseg": self.inference,
            "postprocess/ureter": self.ureter,
            "postprocess/fat": self.fat,
            "smoothing/base": self.smoothing,
        }
        for name, check in checks.items():
            findings.run(name, check)

    def readiness(self) -> str:
        """The gateway answers, and all predictors are ready."""
        self.installation.client.ready()
        return "The gateway answers, and all predictors are ready."

    def operations(self) -> str:
        """The token is good, and something is offered."""
        offered = self.installation.client.operations()
        self.installation.offered.update({o.name: o for o in offered})
        if not offered:
            raise Failure("Nothing is offered.")
        predictors = sorted({o.predictor for o in offered})
        return f"{len(offered)} operations are offered by {', '.join(predictors)}."

    def labels(self) -> str:
        """The numbers in masks mean there what they mean here."""
        told = self.installation.client.labels()
        found = {name: entry.get("number") for name, entry in told.items()}
        if found != dict(names.numbers()):
            raise Failure("The label table is another than this command's: mind the versions.")
        return f"The table of {len(found)} labels is the one that is known here."

    def inference(self) -> str:
        """A mask on the image's grid, of known numbers, where the anatomy is."""
        there = self.installation
        self._need("inference/totalseg")
        path = there.put("arterial.nii.gz", self.specimen.image)
        answer = there.run("inference/totalseg", image_path=path)
        mask = read_labels(there.result(answer, "mask_path"))
        if not mask.same_grid(self.specimen.image):
            raise Failure("The mask is not on the image's grid.")
        if not mask.present:
            raise Failure("The mask is blank.")
        said = f"{len(mask.present)} structures on exactly the image's grid"
        if not self._is_demonstration():
            return f"{said}; how well a model of one's own does is not judged by a phantom."
        found = {n: _dice(mask, self.specimen.truth, names.numbers()[n]) for n in _LEAST_DICE}
        poor = [n for n, least in _LEAST_DICE.items() if found[n] < least]
        shown = ", ".join(f"{n} {d:.2f}" for n, d in found.items())
        if poor:
            raise Failure(f"Not where the anatomy is: {', '.join(poor)} (Dice: {shown}).")
        return f"{said}; Dice: {shown}."

    def ureter(self) -> str:
        """The pieces of a severed ureter are one again, along its course."""
        from scipy import ndimage

        self._need("postprocess/ureter")
        severed = self.specimen.ureter
        before = severed.mask.mask((severed.number,))
        found = self._changed("postprocess/ureter", "severed.nii.gz", severed.mask)
        after = found.mask((severed.number,))
        neighbours = np.ones((3, 3, 3))
        pieces = [int(ndimage.label(m, neighbours)[1]) for m in (before, after)]
        if pieces[0] < 2 or pieces[1] != 1:
            raise Failure(f"Of {pieces[0]} pieces of a ureter {pieces[1]} are left, not one.")
        added = after & ~before
        away = ndimage.distance_transform_edt(
            ~severed.whole.mask((severed.number,)), severed.whole.spacing_mm
        )
        far_mm = float(away[added].max(initial=0.0))
        if far_mm > _NEAR_MM:
            raise Failure(f"The ureter was joined {far_mm:.1f} mm away from its course.")
        return (
            f"{pieces[0]} pieces of a ureter are one; the {int(added.sum())} new voxels lie within "
            f"{far_mm:.1f} mm of its course."
        )

    def fat(self) -> str:
        """Fat around the kidneys, and nothing else changed."""
        self._need("postprocess/fat")
        bare = self.specimen.bare
        found = self._changed("postprocess/fat", "bare.nii.gz", bare)
        changed = found.voxels != bare.voxels
        if bare.voxels[changed].any() or (found.voxels[changed] != names.PERIRENAL_FAT).any():
            raise Failure("Other voxels than those of fat have changed.")
        made_ml = found.volumes_ml().get(names.PERIRENAL_FAT, 0.0)
        if made_ml < _LEAST_FAT_ML:
            raise Failure(f"There are {made_ml:.0f} mL of fat around two kidneys.")
        return f"{made_ml:.0f} mL of fat around the kidneys, and nothing else has changed."

    def smoothing(self) -> str:
        """One closed surface per structure, with its volume."""
        there = self.installation
        self._need("smoothing/base")
        organs = self.specimen.organs
        path = there.put("organs.nii.gz", organs)
        answer = there.run("smoothing/base", mask_path=path)
        surfaces = {s.name: s for s in read_obj(there.result(answer, "obj_path"))}
        volumes = {names.name_of(n): v for n, v in organs.volumes_ml().items()}
        if set(surfaces) != set(volumes):
            raise Failure(f"The objects are {', '.join(sorted(surfaces))}, not those of the mask.")
        worst = 0.0
        for name, surface in surfaces.items():
            if not _is_closed(surface):
                raise Failure(f"The surface '{name}' is not closed.")
            error = abs(_volume_ml(surface) / volumes[name] - 1)
            tube = names.table()[names.numbers()[name]].group in _TUBES
            if error > (_TUBE_ERROR if tube else _VOLUME_ERROR):
                raise Failure(f"The volume of '{name}' is {error:.1%} off its mask's.")
            worst = max(worst, error)
        return f"{len(surfaces)} closed surfaces, their volumes within {worst:.2%} of the mask's."

    def _changed(self, operation: str, name: str, mask: LabelMap) -> LabelMap:
        """What an operation on masks makes of one, which has to be on its grid."""
        there = self.installation
        answer = there.run(operation, mask_path=there.put(name, mask))
        found = read_labels(there.result(answer, "mask_path"))
        if not found.same_grid(mask):
            raise Failure("The mask is not on the grid of the one that was sent.")
        return found

    def _need(self, operation: str) -> None:
        """Before anything is drawn for an operation, see that it is there."""
        if operation not in self.installation.offered:
            raise Skip(f"{operation} is not offered here.")

    def _is_demonstration(self) -> bool:
        found = [b for b in self.installation.client.bundles() if b.task == "totalseg"]
        chosen = sorted(found, key=lambda b: (not b.default, b.name))[:1]
        return any(_DEMONSTRATION in b.intended_use for b in chosen)


def _dice(mask: LabelMap, truth: LabelMap, number: int) -> float:
    one, other = mask.mask((number,)), truth.mask((number,))
    return 2 * float((one & other).sum()) / max(float(one.sum() + other.sum()), 1.0)


def _is_closed(surface: Surface) -> bool:
    """Whether each edge of a face is met by just one other, the other way round."""
    edges = surface.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    one_way, counts = np.unique(_keys(edges), return_counts=True)
    other_way = np.unique(_keys(edges[:, ::-1]))
    return bool(edges.size and (counts == 1).all() and np.array_equal(one_way, other_way))


def _keys(edges: NDArray[Any]) -> NDArray[np.int64]:
    return np.asarray(edges[:, 0].astype(np.int64) << 32 | edges[:, 1], dtype=np.int64)


def _volume_ml(surface: Surface) -> float:
    """Of a closed surface, by the tetrahedra that its faces make with the origin."""
    a, b, c = (surface.vertices[surface.faces[:, n]] for n in range(3))
    return float(np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6000)
