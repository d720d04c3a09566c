"""A bundle: a trained nnU-Net on disk as training left it, plus `bundle.yaml`.

It is checked whole when it is loaded: a bundle that cannot work never becomes ready. A bundle
may be made of parts, each a bundle with a network of its own, whose labels are merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from nephra_contract.errors import BundleInvalid
from nephra_contract.messages import BundleDescription
from nephra_nnunet.architecture import Architecture, read_architecture
from nephra_nnunet.backends import Weights
from nephra_nnunet.checkpoint import Checkpoint, read_checkpoint
from nephra_nnunet.dataset import channel_count, read_heads
from nephra_nnunet.documents import read_document
from nephra_nnunet.manifest import (
    MANIFEST,
    BundleManifest,
    check_channels,
    check_files,
    class_numbers,
    read_manifest,
)
from nephra_nnunet.plans import Heads, Plans, read_plans


@dataclass(frozen=True, eq=False)
class Bundle:
    """A bundle that can work.

    Args:
        folder: where it lies.
        manifest: its `bundle.yaml`.
        digest: sha256 of `bundle.yaml`, which itself holds that of every other file, or of the
            parts' `bundle.yaml`, and so names all that inference reads.
        plans: of the configuration that was trained.
        heads: what the outputs mean.
        numbers: for each value of `export.decide`, the number in nephra's table.
        architecture: of the network.
        checkpoints: one per fold.
        members: the bundles that it is made of. Where there are some, `plans`, `heads`,
            `numbers`, `architecture` and `checkpoints` are the first one's: run `parts`.
    """

    folder: Path
    manifest: BundleManifest
    digest: str
    plans: Plans
    heads: Heads
    numbers: tuple[int, ...]
    architecture: Architecture
    checkpoints: tuple[Checkpoint, ...]
    members: tuple[Bundle, ...] = ()

    @property
    def name(self) -> str:
        """Its name, unique among the bundles that are served."""
        return self.manifest.name

    @property
    def parts(self) -> tuple[Bundle, ...]:
        """The networks to run, itself if it is one; labels merge later over earlier."""
        return self.members or (self,)

    @cached_property
    def mirror_axes(self) -> tuple[int, ...]:
        """Axes over which test-time mirroring is allowed."""
        return self.checkpoints[0].mirror_axes

    def weights(self) -> list[Weights]:
        """The tensors of each fold, read from the files.

        Raises:
            BundleInvalid: one is missing, or of another shape than the plans say.
        """
        return [_weights(self.architecture, c) for c in self.checkpoints]

    def describe(self) -> BundleDescription:
        """What others learn of it."""
        m = self.manifest
        finest = min(self.parts, key=lambda part: max(part.plans.spacing_mm))
        return BundleDescription(
            name=m.name,
            task=m.task,
            default=m.default,
            version=m.version,
            digest=self.digest,
            channels=[[str(p) for p in c] for c in m.phases],
            labels=self._labels(),
            spacing_mm=list(finest.plans.spacing_mm),
            licence=m.licence,
            trained_on=m.trained_on,
            measured_on=m.measured_on,
            intended_use=m.intended_use,
            metrics=m.metrics,
        )

    def _labels(self) -> dict[str, int]:
        """Class → our number, of all parts; a class that two parts number apart says its part."""
        shown: dict[str, int] = {}
        for part in self.parts:
            for name, number in zip(part.class_names, part.numbers, strict=True):
                if number and shown.get(name, number) != number:
                    name = f"{part.folder.name}/{name}"
                if number:
                    shown[name] = number
        return shown

    @property
    def class_names(self) -> tuple[str, ...]:
        """What each value of `export.decide` is called in `dataset.json`."""
        return ("background", *self.heads.names) if self.heads.regions else self.heads.names


def places(folders: Path | Sequence[Path]) -> list[Path]:
    """Where bundles lie in these folders, folder by folder, in the order of their names."""
    several = (folders,) if isinstance(folders, Path) else folders
    return [p.parent for f in several for p in sorted(f.glob(f"[!.]*/{MANIFEST}"))]


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle and check all that can be checked without running it.

    Raises:
        BundleInvalid: says what is wrong with it, and what to do.
    """
    manifest, digest = read_manifest(folder)
    check_files(folder, manifest)
    if not manifest.parts:
        return _load_network(folder, manifest, digest)
    members = tuple(_load_part(folder, part, manifest) for part in manifest.parts)
    return replace(members[0], folder=folder, manifest=manifest, digest=digest, members=members)


def _load_part(folder: Path, name: str, whole: BundleManifest) -> Bundle:
    """One part, held to what the whole says of itself."""
    try:
        part = load_bundle(folder / name)
    except BundleInvalid as error:
        raise BundleInvalid(
            f"The part '{name}' cannot be used: {error.detail}", error.action
        ) from error
    if part.members:
        raise BundleInvalid(
            f"The part '{name}' is made of parts itself.", "Name its parts in the whole instead."
        )
    for said, own, wanted in (
        ("task", part.manifest.task, whole.task),
        ("channels", part.manifest.phases, whole.phases),
        ("precision", part.manifest.precision, whole.precision),
    ):
        if own != wanted:
            raise BundleInvalid(
                f"The part '{name}' says {said} {own}, the whole bundle {wanted}.",
                "Say the same in both bundle.yaml.",
            )
    return part


def _load_network(folder: Path, manifest: BundleManifest, digest: str) -> Bundle:
    dataset = read_document(folder, "dataset.json")
    checkpoints = tuple(read_checkpoint(folder / f) for f in manifest.checkpoint_files())
    channels = channel_count(dataset)
    if channels != len(manifest.channels):
        raise BundleInvalid(
            f"bundle.yaml lists {len(manifest.channels)} channels, dataset.json {channels}.",
            "Name the phases of each channel in bundle.yaml.",
        )
    check_channels(manifest)
    heads = read_heads(dataset)
    configuration = manifest.configuration or _configuration(checkpoints)
    plans = read_plans(read_document(folder, "plans.json"), configuration, channels)
    bundle = Bundle(
        folder=folder,
        manifest=manifest,
        digest=digest,
        plans=plans,
        heads=heads,
        numbers=class_numbers(heads, manifest.labels),
        architecture=read_architecture(plans.network, channels, len(heads.names)),
        checkpoints=checkpoints,
    )
    _check_patch(plans, bundle.architecture)
    for checkpoint in checkpoints:
        _check_tensors(bundle.architecture, checkpoint)
    return bundle


def _configuration(checkpoints: Sequence[Checkpoint]) -> str:
    """The configuration that all folds were trained with."""
    found = sorted({c.configuration for c in checkpoints})
    if len(found) > 1:
        raise BundleInvalid(
            f"The folds were trained with different configurations: {', '.join(found)}.",
            "Take all folds from one and the same training.",
        )
    return found[0]


def _check_tensors(architecture: Architecture, checkpoint: Checkpoint) -> None:
    """Hold the checkpoint to the plans: all that they ask for, and nothing that they do not."""
    strange = architecture.strange(checkpoint.tensors)
    if strange:
        more = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
        raise BundleInvalid(
            f"The checkpoint holds a tensor '{strange[0]}'{more} that the plans do not explain; "
            f"its trainer, '{checkpoint.trainer}', built another network than the plans describe.",
            "Take plans.json and checkpoint from one and the same training, by a trainer that "
            "builds the network of the plans.",
        )
    for name, shape in architecture.shapes().items():
        stored = checkpoint.tensors.get(name)
        if stored is None or stored.shape != shape:
            said = "lacks it" if stored is None else f"holds {list(stored.shape)}"
            raise BundleInvalid(
                f"The plans ask for a tensor '{name}' of shape {list(shape)}; "
                f"the checkpoint {said}.",
                "Take plans.json, dataset.json and checkpoint from one and the same training.",
            )


def _check_patch(plans: Plans, architecture: Architecture) -> None:
    if any(n % d for n, d in zip(plans.patch, architecture.divisors(), strict=True)):
        raise BundleInvalid(
            f"The plans' patch {list(plans.patch)} cannot be halved as their strides ask: its "
            f"sides have to be multiples of {list(architecture.divisors())}.",
            "Take plans.json from the folder that training left.",
        )


def _weights(architecture: Architecture, checkpoint: Checkpoint) -> Weights:
    return checkpoint.weights(architecture.shapes())
