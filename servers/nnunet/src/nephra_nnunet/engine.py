"""Loads bundles, keeps their networks ready, and turns images into label maps."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nephra_contract import logs
from nephra_contract.errors import BundleInvalid, BundleUnknown
from nephra_contract.progress import Progress
from nephra_contract.volume import LabelMap
from nephra_nnunet.backends import Backend, Network
from nephra_nnunet.bundle import Bundle, load_bundle
from nephra_nnunet.export import labels_at_full_resolution
from nephra_nnunet.preparation import Image, Preparations
from nephra_nnunet.sliding import predict

_WAIT_S = 0.2


@dataclass(frozen=True)
class Timings:
    """Seconds of the stages of one prediction."""

    prepare_s: float
    network_s: float
    labels_s: float

    def named(self) -> dict[str, float]:
        """As a manifest says them."""
        return {"prepare_s": self.prepare_s, "network_s": self.network_s, "labels_s": self.labels_s}


@dataclass
class Engine:
    """The models of a service.

    Args:
        bundles: that can work, by name.
        broken: why others cannot, by the name of their folder.
        backend: runs networks.
    """

    bundles: Mapping[str, Bundle]
    broken: Mapping[str, BundleInvalid]
    backend: Backend
    _networks: dict[str, Network] = field(default_factory=dict)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def warm_up(self) -> None:
        """Run every network once, so that the first request finds all compiled."""
        for bundle in self.bundles.values():
            started = time.perf_counter()
            network = self.network(bundle)
            patch = np.zeros((len(bundle.manifest.channels), *bundle.plans.patch), np.float32)
            logits = network.infer(patch)
            if not np.isfinite(logits).all():
                raise BundleInvalid(
                    f"The network of '{bundle.name}' gives values that are not numbers.",
                    "Take another checkpoint.",
                )
            network.release()
            took = round(time.perf_counter() - started, 2)
            logs.line("bundle ready", bundle=bundle.name, seconds=took)

    def network(self, bundle: Bundle) -> Network:
        """The compiled network of a bundle; compiled at its first use."""
        if bundle.name not in self._networks:
            self._networks[bundle.name] = self.backend.load(
                bundle.architecture, bundle.weights(), bundle.plans.patch
            )
        return self._networks[bundle.name]

    def find(self, task: str, name: str | None) -> Bundle:
        """The bundle of that name for a task; the task's default where none is named.

        Raises:
            BundleUnknown: there is none; the error lists those that there are.
            BundleInvalid: it is there, but cannot work.
        """
        served = [b for b in self.bundles.values() if b.manifest.task == task]
        if name is None:
            ordered = sorted(served, key=lambda b: (not b.manifest.default, b.name))
            if ordered:
                return ordered[0]
        for bundle in served:
            if bundle.name == name:
                return bundle
        if name is not None and name in self.broken:
            raise self.broken[name]
        known = ", ".join(b.name for b in served) or "none"
        asked = f"no bundle '{name}'" if name else "no bundle"
        raise BundleUnknown(
            f"There is {asked} for the task '{task}'; there is: {known}.",
            "Name one of those, or add it with `python -m nephra_nnunet bundle add`.",
            bundles=[b.name for b in served],
        )

    def predict(
        self,
        bundle: Bundle,
        images: Sequence[Image],
        preparations: Preparations,
        mirroring: bool,
        progress: Progress,
    ) -> tuple[LabelMap, Timings]:
        """Segment images, one per channel and all on one grid.

        Args:
            bundle: one of `bundles`.
            images: in the order of its channels.
            preparations: shared by the models of one request.
            mirroring: average over mirrored predictions too, where training allows it.
            progress: advanced slab by slab and tile by tile.

        Returns:
            Our numbers on the images' grid, without sides; and what took how long.
        """
        with self._one_at_a_time(progress):
            clock = [time.perf_counter()]
            frame = preparations.frame(images, bundle.plans, bundle.manifest.orientation)
            tensor = preparations.prepare(images, frame, bundle.plans, progress.part(0, 0.1))
            clock.append(time.perf_counter())
            logits = predict(
                self.network(bundle),
                tensor,
                bundle.plans.patch,
                bundle.architecture.heads,
                bundle.mirror_axes if mirroring else (),
                progress.part(0.1, 0.9),
            )
            self.network(bundle).release()
            clock.append(time.perf_counter())
            seen = labels_at_full_resolution(
                logits,
                frame.back(bundle.plans.logits_resampling),
                bundle.heads,
                progress.part(0.9, 1.0),
            )
            numbers = np.array(bundle.numbers, dtype=np.uint8)
            grid = images[0].volume
            voxels = frame.restore(numbers[seen], grid.shape)
            clock.append(time.perf_counter())
        return LabelMap(voxels, grid.affine), Timings(*np.diff(clock).tolist())

    @contextmanager
    def _one_at_a_time(self, progress: Progress) -> Iterator[None]:
        """One prediction has all threads and bounds the memory; those who wait can cancel."""
        while not self._turn.acquire(timeout=_WAIT_S):
            progress.advance(0.0, "waiting")
        try:
            yield
        finally:
            self._turn.release()


def open_engine(folder: Path, backend: Backend) -> Engine:
    """Load every bundle of a folder. What cannot work is said in the log, and when asked for."""
    bundles: dict[str, Bundle] = {}
    broken: dict[str, BundleInvalid] = {}
    for place in sorted(p for p in folder.glob("*") if (p / "bundle.yaml").is_file()):
        try:
            bundle = load_bundle(place)
            if bundle.name in bundles:
                raise BundleInvalid(f"Two bundles are called '{bundle.name}'.", "Rename one.")
        except BundleInvalid as error:
            broken[place.name] = error
            logs.line("bundle refused", logging.ERROR, bundle=place.name, reason=error.detail)
        else:
            bundles[bundle.name] = bundle
    return Engine(bundles, broken, backend)
