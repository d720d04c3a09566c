"""`python -m nephra_nnunet` serves; `… run` runs one operation, `… bundle` looks after models.

`… bench` measures nephra beside stock nnU-Net.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nephra_contract.paths import DataRoot
    from nephra_nnunet.runner import NnunetRunner
    from nephra_nnunet.settings import Settings


def build(data: DataRoot) -> NnunetRunner:
    """The runner of this predictor, for its worker: its models loaded, checked and run once."""
    from nephra_nnunet.settings import Settings

    settings = Settings()
    # One operation without a server compiles what it needs, and no more.
    return open_runner(data, settings, warm_up=settings.warm_up and "run" not in sys.argv[1:2])


def open_runner(data: DataRoot, settings: Settings, warm_up: bool) -> NnunetRunner:
    """The runner of this predictor with these settings."""
    from threadpoolctl import threadpool_limits

    from nephra_contract.results import nephra_version
    from nephra_nnunet.backends import open_backend
    from nephra_nnunet.engine import open_engine
    from nephra_nnunet.reader import Reader
    from nephra_nnunet.runner import NnunetRunner

    # The linear algebra under NumPy has threads of its own, which no other setting reaches.
    threadpool_limits(settings.thread_count)
    backend = open_backend(settings.backend, settings.thread_count, settings.device)
    engine = open_engine(settings.bundle_folders, backend, settings.memory)
    reader = Reader(settings.max_voxels)
    if warm_up:
        nephra_version()
        reader.warm_up()
        engine.warm_up()
    return NnunetRunner(engine, data, reader)


def command() -> int:
    """Do what the arguments say."""
    if sys.argv[1:2] == ["bundle"]:
        from nephra_nnunet.bundle_command import main as bundle_main
        from nephra_nnunet.settings import Settings

        return bundle_main(sys.argv[2:], *Settings().bundle_folders)
    if sys.argv[1:2] == ["bench"]:
        from nephra_nnunet.bench.command import main as bench_main

        return bench_main(sys.argv[2:])
    from nephra_serving.main import main

    return main("nnunet", build)


if __name__ == "__main__":
    sys.exit(command())
