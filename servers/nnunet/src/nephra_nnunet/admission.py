"""Whether a bundle may run in bfloat16: its labels beside those of float32, on a user's image.

bfloat16 keeps eight bits of a number's mantissa. What that does to labels depends on how decided
a network's outputs are, which only the network and an image like its own can tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from nephra_contract import labels as names
from nephra_contract.errors import BundleInvalid, RequestInvalid, Unavailable
from nephra_contract.progress import Progress
from nephra_contract.results import sha256
from nephra_nnunet.architecture import Architecture, Triple
from nephra_nnunet.backends import Backend, BackendName, Network, Precision, Weights
from nephra_nnunet.bundle import Bundle
from nephra_nnunet.cache import ByteCache
from nephra_nnunet.engine import Engine
from nephra_nnunet.images import Images
from nephra_nnunet.manifest import MANIFEST, Phase
from nephra_nnunet.preparation import Image, Preparations
from nephra_nnunet.reader import Reader
from nephra_nnunet.training import write_manifest

#: A label's Dice to float32 that is asked for: well inside of what training anew would change.
MIN_DICE = 0.99
#: A label of fewer voxels is judged by the number of voxels that differ: rounding moves a few
#: voxels of any surface, and of a small label that is a large part.
MIN_VOXELS = 1000
#: As many as a label of `MIN_VOXELS` may differ in at `MIN_DICE`, so that the two rules meet.
MAX_STRAY_VOXELS = 20
_MANY_BYTES = 4 * 2**30


@dataclass(frozen=True)
class Comparison:
    """The labels of one network, in bfloat16 beside float32.

    Args:
        dice: by label, of those that either has.
        voxels: by label, the larger of both counts.
        differing: by label, voxels that only one of both has.
        images: sha256 of each image.
    """

    dice: Mapping[str, float]
    voxels: Mapping[str, int]
    differing: Mapping[str, int]
    images: tuple[str, ...]

    def failed(self) -> list[str]:
        """The labels that are too far from float32, worst first."""
        small = {n for n, count in self.voxels.items() if count < MIN_VOXELS}
        found = [
            n
            for n, dice in self.dice.items()
            if (self.differing[n] > MAX_STRAY_VOXELS if n in small else dice < MIN_DICE)
        ]
        return sorted(found, key=lambda n: self.dice[n])

    def check(self) -> None:
        """Refuse what is too far from float32, and what proves nothing.

        Raises:
            BundleInvalid: with the numbers.
        """
        if not self.dice:
            raise BundleInvalid(
                "The bundle finds nothing in the image, which proves nothing about bfloat16.",
                "Name an image with --try-on that shows what the bundle segments.",
            )
        failed = self.failed()
        if failed:
            said = ", ".join(
                f"{n} {self.dice[n]:.4f} ({self.differing[n]} of {self.voxels[n]} voxels differ)"
                for n in failed[:5]
            )
            raise BundleInvalid(
                f"In bfloat16 the bundle gives other labels than in float32: Dice {said}. Asked "
                f"for is {MIN_DICE}, or up to {MAX_STRAY_VOXELS} differing voxels of a label "
                f"below {MIN_VOXELS}.",
                "Add it without --bfloat16.",
            )

    def metrics(self) -> dict[str, Any]:
        """As `bundle.yaml` keeps it."""
        return {
            "dice_to_float32": {n: round(d, 5) for n, d in self.dice.items()},
            "voxels_that_differ": sum(self.differing.values()),
            "images": list(self.images),
        }


@dataclass
class InPrecision:
    """A backend whose networks all have one precision.

    Args:
        backend: that makes them.
        precision: whatever is asked for.
    """

    backend: Backend
    precision: Precision
    name: BackendName = "openvino"

    def load(
        self,
        architecture: Architecture,
        folds: Sequence[Weights],
        patch: Triple,
        precision: Precision = "float32",
    ) -> Network:
        """See `Backend.load`."""
        del precision
        return self.backend.load(architecture, folds, patch, self.precision)


def admit(bundle: Bundle, paths: Sequence[Path], threads: int, max_voxels: int) -> None:
    """Run a bundle's networks in both precisions; if they agree, write bfloat16 into its files.

    Args:
        bundle: in a folder that may be written to.
        paths: one image per channel.
        threads: that inference may use.
        max_voxels: of the largest image that is read.

    Raises:
        Unavailable: this machine's CPU does not compute in bfloat16.
        BundleInvalid: the labels differ; the error has the numbers.
        NephraError: an image cannot be used.
    """
    check_machine()
    from nephra_nnunet.backends.openvino import OpenVinoBackend

    images = _read(bundle, paths, Reader(max_voxels))
    backend = OpenVinoBackend(threads)
    digests = tuple(sha256(path) for path in paths)
    found = [_try(part, images, backend, digests) for part in bundle.parts]
    for comparison in found:
        comparison.check()
    for part, comparison in zip(bundle.parts, found, strict=True):
        _write(part.folder, comparison.metrics())
    if bundle.members:
        by_part = {p.folder.name: c.metrics() for p, c in zip(bundle.parts, found, strict=True)}
        _write(bundle.folder, by_part)


def check_machine() -> None:
    """Refuse a self-test that would compare float32 with itself.

    Raises:
        Unavailable: this CPU has no instructions for bfloat16.
    """
    from nephra_nnunet.backends.openvino import computes_in_bfloat16

    if not computes_in_bfloat16():
        raise Unavailable(
            "This machine's CPU does not compute in bfloat16, so that nothing can be tested.",
            "Add the bundle on a machine whose CPU does, or without --bfloat16.",
        )


def compare(
    single: NDArray[np.uint8], half: NDArray[np.uint8], images: tuple[str, ...] = ()
) -> Comparison:
    """Compare two label maps of one shape, in nephra's numbers; background is not counted."""
    first = np.bincount(single.ravel(order="K"), minlength=256)
    second = np.bincount(half.ravel(order="K"), minlength=256)
    both = np.bincount(single[single == half], minlength=256)
    present = [int(n) for n in np.flatnonzero(first + second) if n]
    shown = {n: names.name_of(n) for n in present}
    total = {n: int(first[n] + second[n]) for n in present}
    return Comparison(
        dice={shown[n]: 2 * int(both[n]) / total[n] for n in present},
        voxels={shown[n]: int(max(first[n], second[n])) for n in present},
        differing={shown[n]: total[n] - 2 * int(both[n]) for n in present},
        images=images,
    )


def _try(
    part: Bundle, images: Sequence[Image], backend: Backend, digests: tuple[str, ...]
) -> Comparison:
    made = Preparations(ByteCache(_MANY_BYTES))
    found = []
    for precision in ("float32", "bfloat16"):
        # One engine after the other: the first one's network is gone before the second is built.
        engine = Engine({}, {}, InPrecision(backend, precision))
        labels, _ = engine.predict(part, images, made, False, Progress())
        found.append(labels.voxels)
    return compare(found[0], found[1], digests)


def _read(bundle: Bundle, paths: Sequence[Path], reader: Reader) -> list[Image]:
    """One image per channel, all on the grid of the first."""
    wanted = bundle.manifest.phases
    if len(paths) != len(wanted):
        raise RequestInvalid(
            f"--try-on names {len(paths)} images; the bundle takes {len(wanted)}.",
            "Name one image per channel, in the order of the channels.",
        )
    phases: list[Phase | None] = []
    for channel in wanted:
        phases.append(next((p for p in channel if p not in phases), None))
    images = Images(
        dict(zip(phases, paths, strict=True)),
        dict.fromkeys(phases, "--try-on"),
        reader,
        ByteCache(_MANY_BYTES),
    )
    images.check_together(tuple(phases))
    return images.channels(tuple(phases), Progress())


def _write(folder: Path, metrics: Mapping[str, Any]) -> None:
    """Say the precision in `bundle.yaml`, with what was measured; parts' digests are renewed."""
    members = yaml.safe_load((folder / MANIFEST).read_text(encoding="utf-8"))
    members["precision"] = "bfloat16"
    members["metrics"] = {**members.get("metrics", {}), "bfloat16": dict(metrics)}
    files = {
        f: sha256(folder / f) if f.endswith(MANIFEST) else d for f, d in members["files"].items()
    }
    write_manifest(folder, {**members, "files": files})
