"""Loads bundles, keeps their networks ready, and turns images into label maps."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nephra_contract import logs
from nephra_contract.errors import BundleInvalid, BundleUnknown, InternalError
from nephra_contract.progress import Progress
from nephra_contract.volume import LabelMap
from nephra_nnunet import compiled
from nephra_nnunet.backends import Backend, Network
from nephra_nnunet.bundle import Bundle, load_bundle, places
from nephra_nnunet.memory import Memory
from nephra_nnunet.plans import Resampling
from nephra_nnunet.preparation import Image, Preparations
from nephra_nnunet.resampling import operators
from nephra_nnunet.sliding import aim, segment

_WAIT_S = 0.2
_LINEAR = Resampling(order=1, order_z=0, apart=False)


@dataclass(frozen=True)
class Timings:
    """Seconds of the stages of one prediction."""

    prepare_s: float
    network_s: float

    def named(self) -> dict[str, float]:
        """As a manifest says them."""
        return {"prepare_s": self.prepare_s, "network_s": self.network_s}

    def __add__(self, other: Timings) -> Timings:
        return Timings(self.prepare_s + other.prepare_s, self.network_s + other.network_s)


@dataclass
class Engine:
    """The models of a service.

    Args:
        bundles: that can work, by name.
        broken: why others cannot, by the name of their folder.
        backend: runs networks.
        memory: bounds what a request may take.
    """

    bundles: dict[str, Bundle]
    broken: dict[str, BundleInvalid]
    backend: Backend
    memory: Memory = field(default_factory=Memory)
    _networks: dict[Path, Network] = field(default_factory=dict)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def warm_up(self) -> None:
        """Run every network once, so that the first request finds all compiled and imported.

        A bundle that cannot work is put to the broken ones; the others become ready.
        """
        compiled.compile_all()
        for bundle in list(self.bundles.values()):
            started = time.perf_counter()
            try:
                self.try_out(bundle)
            except BundleInvalid as error:
                refuse(self.broken, bundle.name, error)
                del self.bundles[bundle.name]
            else:
                took = round(time.perf_counter() - started, 2)
                logs.line("bundle ready", bundle=bundle.name, seconds=took)
        self.memory.settle()

    def try_out(self, bundle: Bundle) -> None:
        """Run each of a bundle's networks on one tile.

        Raises:
            BundleInvalid: a network gives values that are not numbers.
        """
        for part in bundle.parts:
            self._try_out(part)

    def _try_out(self, part: Bundle) -> None:
        """Segment one tile of noise: every step of a prediction, and all that it imports."""
        shape = part.plans.patch
        half = shape[0] // 2, shape[1] // 2, shape[2] // 2
        ways = operators(shape, half, (1.0, 1.0, 1.0), (2.0, 2.0, 2.0), _LINEAR)
        labels = np.zeros(half, dtype=np.uint8)
        target = aim(shape, shape, ways, part.heads, _numbers(part), labels)
        noise = np.random.default_rng(0).standard_normal(
            (len(part.plans.normalisation), *shape), dtype=np.float32
        )
        network = self.network(part)
        try:
            segment(network, noise, target, (), Progress())
        except InternalError as error:
            raise BundleInvalid(
                f"The network of '{part.name}' gives values that are not numbers.",
                "Take another checkpoint.",
            ) from error
        finally:
            network.release()

    def network(self, part: Bundle) -> Network:
        """The compiled network of a bundle's part; compiled at its first use."""
        if part.folder not in self._networks:
            self._networks[part.folder] = self.backend.load(
                part.architecture, part.weights(), part.plans.patch, part.manifest.precision
            )
        return self._networks[part.folder]

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
        grid = images[0].volume
        voxels = np.zeros(grid.shape, dtype=np.uint8, order="F")
        timings = Timings(0.0, 0.0)
        count = len(bundle.parts)
        for number, part in enumerate(bundle.parts):
            share = progress.part(number / count, (number + 1) / count)
            made = voxels if number == 0 else np.zeros_like(voxels)
            timings += self._predict_part(part, images, made, preparations, mirroring, share)
            if number:
                _lay_over(voxels, made)
        return LabelMap(voxels, grid.affine), timings

    def _predict_part(
        self,
        part: Bundle,
        images: Sequence[Image],
        voxels: NDArray[np.uint8],
        preparations: Preparations,
        mirroring: bool,
        progress: Progress,
    ) -> Timings:
        clock = [time.perf_counter()]
        frame = preparations.frame(images, part.plans, part.manifest.orientation)
        tensor = preparations.prepare(images, frame, part.plans, progress.part(0, 0.1))
        clock.append(time.perf_counter())
        back = frame.back(part.plans.logits_resampling)
        target = aim(
            frame.resampled, part.plans.patch, back, part.heads, _numbers(part), frame.view(voxels)
        )
        network = self.network(part)
        mirror_axes = part.mirror_axes if mirroring else ()
        try:
            segment(network, tensor, target, mirror_axes, progress.part(0.1, 1.0))
        finally:
            network.release()
        clock.append(time.perf_counter())
        return Timings(*np.diff(clock).tolist())

    @contextmanager
    def turn(self, progress: Progress) -> Iterator[None]:
        """One request has all threads and bounds the memory; those who wait can cancel."""
        while not self._turn.acquire(timeout=_WAIT_S):
            progress.advance(0.0, "waiting")
        try:
            yield
        finally:
            self._turn.release()


def refuse(broken: dict[str, BundleInvalid], name: str, error: BundleInvalid) -> None:
    """Remember why a bundle cannot work, and say it in the log."""
    broken[name] = error
    logs.line("bundle refused", logging.ERROR, bundle=name, reason=error.detail)


def _numbers(part: Bundle) -> NDArray[np.uint8]:
    return np.array(part.numbers, dtype=np.uint8)


def _lay_over(below: NDArray[np.uint8], above: NDArray[np.uint8]) -> None:
    """Write what is not 0 over what was there, slice by slice."""
    for k in range(below.shape[2]):
        np.copyto(below[:, :, k], above[:, :, k], where=above[:, :, k] != 0)


def open_engine(
    folders: Path | Sequence[Path], backend: Backend, memory: Memory | None = None
) -> Engine:
    """Load every bundle of these folders.

    What cannot work is said in the log, and when it is asked for.

    Raises:
        BundleInvalid: it is not clear which bundle a request would mean.
    """
    bundles: dict[str, Bundle] = {}
    broken: dict[str, BundleInvalid] = {}
    for place in places(folders):
        try:
            bundle = load_bundle(place)
        except BundleInvalid as error:
            refuse(broken, place.name, error)
        else:
            _check_apart(bundle, bundles.values())
            bundles[bundle.name] = bundle
    return Engine(bundles, broken, backend, memory or Memory())


def _check_apart(bundle: Bundle, others: Iterable[Bundle]) -> None:
    """Refuse what two folders call alike, and a second default."""
    for other in others:
        where = f"{_shown(other.folder)} and {_shown(bundle.folder)}"
        if other.name == bundle.name:
            raise BundleInvalid(
                f"Two bundles are called '{bundle.name}': {where}.",
                "Rename one in its bundle.yaml, or leave one out.",
            )
        both = other.manifest.default and bundle.manifest.default
        if both and other.manifest.task == bundle.manifest.task:
            raise BundleInvalid(
                f"Two bundles are the default for the task '{bundle.manifest.task}': {where}.",
                "Say `default: false` in one bundle.yaml, or leave one out.",
            )


def _shown(folder: Path) -> str:
    """As much of a path as tells two folders apart, and nothing of the host's tree above."""
    return "/".join(folder.parts[-2:])
