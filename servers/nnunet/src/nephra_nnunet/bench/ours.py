"""Runs nephra on one image, stage by stage: `python -m nephra_nnunet.bench.ours …`.

It goes the way of a request to a server that has just started: reader, engine, labels. What it
writes are the dataset's own numbers, so that they can be held against stock's.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nephra_nnunet.bench.stages import Stages

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nephra_contract.volume import LabelMap
    from nephra_nnunet.architecture import Architecture, Triple
    from nephra_nnunet.backends import (
        Backend,
        BackendName,
        Network,
        Precision,
        Sink,
        Target,
        Weights,
    )
    from nephra_nnunet.bundle import Bundle
    from nephra_nnunet.engine import Engine
    from nephra_nnunet.preparation import Image


def main(arguments: Sequence[str]) -> int:
    """Run nephra on one image; the stages go to a file as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--image", type=Path, action="append", required=True)
    parser.add_argument("--labels", type=Path, help="Where labels go, .npy; nowhere if left out.")
    parser.add_argument("--report", type=Path, required=True, help="Where the stages go, .json.")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--mirroring", action="store_true")
    parser.add_argument("--backend", choices=("openvino", "torch"), default="openvino")
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args(arguments)
    stages = Stages(asked.report)
    labels = run(asked, stages)
    if asked.labels is not None:
        np.save(asked.labels, labels.voxels.T)
    stages.write()
    return 0


def run(asked: argparse.Namespace, stages: Stages) -> LabelMap:
    """The labels, as the dataset numbers them."""
    from nephra_contract.progress import Progress

    with stages.stage("import"):
        from nephra_nnunet import compiled
        from nephra_nnunet.backends import open_backend
        from nephra_nnunet.engine import Engine
        from nephra_nnunet.preparation import Image
        from nephra_nnunet.reader import Reader
    with stages.stage("load"):
        bundle = as_the_dataset(asked.bundle)
        backend = open_backend(asked.backend, asked.threads, asked.device)
        engine = Engine({bundle.name: bundle}, {}, MeasuredBackend(backend, stages))
        # What a server does before it is ready, but for the tile that it tries out.
        compiled.compile_all()
        for part in bundle.parts:
            engine.network(part)
        Reader().warm_up()
        engine.memory.settle()
    with stages.stage("read"):
        reader = Reader()
        images = [Image(reader.read(path), path) for path in asked.image]
    stages.estimate_mib = _estimate(engine, bundle, images) / 2**20
    labels, _ = engine.predict(
        bundle, images, _measured_preparations(stages), asked.mirroring, Progress()
    )
    return labels


def as_the_dataset(folder: Path) -> Bundle:
    """The bundle as stock would use it: the dataset's own numbers, images taken as stored."""
    from nephra_nnunet.bundle import load_bundle

    bundle = load_bundle(folder)
    numbers = bundle.heads.numbers if bundle.heads.regions else bundle.heads.numbers[1:]
    return replace(
        bundle,
        manifest=bundle.manifest.model_copy(update={"orientation": None}),
        numbers=(0, *numbers),
    )


class MeasuredBackend:
    """A backend whose networks' work is measured."""

    def __init__(self, backend: Backend, stages: Stages) -> None:
        self.name: BackendName = backend.name
        self.backend = backend
        self.stages = stages

    def load(
        self,
        architecture: Architecture,
        folds: Sequence[Weights],
        patch: Triple,
        precision: Precision = "float32",
    ) -> Network:
        """See `Backend.load`."""
        network = self.backend.load(architecture, folds, patch, precision)
        return MeasuredNetwork(network, self.stages)


@dataclass(frozen=True)
class MeasuredNetwork:
    """A network whose work is measured."""

    network: Network
    stages: Stages

    def infer(self, tile: NDArray[np.float32], mirror_axes: Sequence[int]) -> Any:
        """See `Network.infer`."""
        with self.stages.stage("network"):
            return self.network.infer(tile, mirror_axes)

    def sink(self, target: Target) -> Sink:
        """See `Network.sink`."""
        return MeasuredSink(self.network.sink(target), self.stages)

    def release(self) -> None:
        """See `Network.release`."""
        self.network.release()


@dataclass(frozen=True)
class MeasuredSink:
    """A sink whose sums count to the network, as they do with stock; its labels to themselves."""

    sink: Sink
    stages: Stages

    def add(self, start: Triple, output: Any) -> None:
        """See `Sink.add`."""
        with self.stages.stage("network"):
            self.sink.add(start, output)

    def finish(self, length: int) -> None:
        """See `Sink.finish`."""
        with self.stages.stage("labels"):
            self.sink.finish(length)


def _estimate(engine: Engine, bundle: Bundle, images: Sequence[Image]) -> int:
    """Bytes that a server would expect to hold at most while it serves this."""
    from nephra_nnunet.memory import Scan, request_bytes

    scans = [Scan(i.volume.shape, i.volume.affine, i.volume.voxels.itemsize) for i in images]
    return engine.memory.base + request_bytes([(bundle, scans)], scans)


def _measured_preparations(stages: Stages) -> Any:
    """Preparations that are measured; made here, because engines are imported as a stage."""
    from nephra_nnunet.cache import ByteCache
    from nephra_nnunet.preparation import Preparations

    class Measured(Preparations):
        def frame(self, *given: Any, **named: Any) -> Any:
            with stages.stage("prepare"):
                return super().frame(*given, **named)

        def prepare(self, *given: Any, **named: Any) -> Any:
            with stages.stage("prepare"):
                return super().prepare(*given, **named)

    # What a server keeps for the next request is a budget of its own.
    return Measured(ByteCache(0))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
