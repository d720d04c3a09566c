from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nephra_contract.errors import BundleInvalid, Cancelled
from nephra_contract.progress import Progress
from nephra_nnunet.backends import open_backend
from nephra_nnunet.cache import ByteCache
from nephra_nnunet.engine import open_engine
from nephra_nnunet.preparation import Image, Preparations

MakeBundle = Callable[..., Path]

#: What the first request to a server that is ready imports, compiles, and reads of its models.
_FIRST_REQUEST = """
import sys
from pathlib import Path
from nephra_contract.paths import DataRoot
from nephra_contract.progress import Progress
from nephra_nnunet.__main__ import open_runner
from nephra_nnunet.settings import Settings

bundles, data = Path(sys.argv[1]), Path(sys.argv[2])
runner = open_runner(DataRoot(data), Settings(bundles=bundles, threads=1), warm_up=True)
network = runner.engine.network(runner.engine.bundles["tumor"])
opened = []
sys.addaudithook(lambda event, given: event == "open" and opened.append(str(given[0])))
before = set(sys.modules)
answer = runner.run("tumor", {"image_path": "A.nii.gz"}, Progress())
print("imported", *sorted(set(sys.modules) - before))
print("models", *(o for o in opened if str(bundles) in o))
print("compiled", *(o for o in opened if o.endswith((".nbi", ".nbc", ".py", ".pyc"))))
print("same", runner.engine.network(runner.engine.bundles["tumor"]) is network)
"""


def test_the_first_request_imports_compiles_and_loads_nothing(
    make_bundle: MakeBundle, data_folder: Path
) -> None:
    """All that was done before the server said that it was ready."""
    folder = make_bundle("tumor")
    done = subprocess.run(
        [sys.executable, "-c", _FIRST_REQUEST, str(folder.parent), str(data_folder)],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    said = dict(line.partition(" ")[::2] for line in done.stdout.splitlines() if line[:1] != "{")
    assert said == {"imported": "", "models": "", "compiled": "", "same": "True"}


def test_a_network_that_gives_no_numbers_never_becomes_ready(
    make_bundle: MakeBundle, tiny: Any
) -> None:
    """Weights so large that logits overflow are found before the first patient; others work."""
    folder = make_bundle("tumor")
    make_bundle("ureter")
    engine = open_engine(folder.parent, open_backend("openvino", 1, "cpu"))
    bundle = engine.bundles["tumor"]
    weights = {
        name: values * (1e38 if name.startswith("decoder.seg_layers") else 1)
        for name, values in bundle.weights()[0].items()
    }
    tiny.checkpoint(folder / "fold_0" / "checkpoint_final.pth", weights)
    engine.warm_up()
    assert list(engine.bundles) == ["ureter"]
    with pytest.raises(BundleInvalid, match="not numbers"):
        engine.find("tumor", "tumor")


def test_cancelling_gives_the_networks_memory_back(make_bundle: MakeBundle, tiny: Any) -> None:
    """And the same engine serves the next request."""
    engine = open_engine(make_bundle("tumor").parent, open_backend("openvino", 1, "cpu"))
    bundle = engine.bundles["tumor"]
    released: list[str] = []
    network = engine.network(bundle)
    release = network.release

    def noted() -> None:
        released.append("yes")
        release()

    network.release = noted  # type: ignore[method-assign]
    stop = threading.Event()

    def report(fraction: float, stage: str) -> None:
        if stage == "inference" and fraction > 0.3:
            stop.set()

    image = Image(tiny.ct(), "ct")
    with pytest.raises(Cancelled):
        engine.predict(bundle, [image], Preparations(ByteCache(0)), False, Progress(report, stop))
    assert released == ["yes"]
    labels, _ = engine.predict(bundle, [image], Preparations(ByteCache(0)), False, Progress())
    assert labels.present
