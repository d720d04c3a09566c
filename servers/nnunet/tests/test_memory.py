from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nephra_contract.errors import InsufficientMemory, TooLarge
from nephra_nnunet.bundle import load_bundle
from nephra_nnunet.cache import ByteCache
from nephra_nnunet.memory import Memory, Scan, request_bytes

MakeBundle = Callable[..., Path]
GIB = 2**30

#: Peak memory of one prediction above what the loaded process held, in bytes.
_MEASURE = """
import ctypes
import sys
from pathlib import Path
import numpy as np
from nephra_contract.progress import Progress
from nephra_contract.volume import Volume
from nephra_nnunet.backends import open_backend
from nephra_nnunet.cache import ByteCache
from nephra_nnunet.engine import open_engine
from nephra_nnunet.preparation import Image, Preparations

def status(name):
    rows = Path("/proc/self/status").read_text().splitlines()
    return next(int(r.split()[1]) * 1024 for r in rows if r.startswith(name))

engine = open_engine(Path(sys.argv[1]), open_backend("openvino", 1, "cpu"))
engine.warm_up()
shape = tuple(int(n) for n in sys.argv[2].split(","))
# What the allocator keeps from warming up would be used again by the run, and not be counted.
ctypes.CDLL(None).malloc_trim(0)
before = status("VmRSS")
voxels = np.random.default_rng(0).integers(-1000, 1000, shape, dtype=np.int16)
image = Image(Volume(np.asfortranarray(voxels), np.diag([1.0, 1.0, 1.0, 1.0])), "ct")
del voxels
Path("/proc/self/clear_refs").write_text("5")
bundle = next(iter(engine.bundles.values()))
engine.predict(bundle, [image], Preparations(ByteCache(0)), False, Progress())
print(status("VmHWM") - before)
"""


def _scan(shape: tuple[int, int, int] = (512, 512, 300), spacing: float = 0.8) -> Scan:
    return Scan(shape, np.diag([spacing, spacing, 1.5, 1.0]), 2)


@pytest.mark.parametrize(
    ("shape", "heads"), [((220, 220, 60), 3), ((90, 90, 400), 60)], ids=["wide", "long"]
)
def test_the_estimate_holds_against_a_measured_run(
    shape: tuple[int, int, int], heads: int, make_bundle: MakeBundle, tiny: Any
) -> None:
    """Never less than a run takes, and not much more."""
    plans = tiny.plans(1, spacing=(1.5, 1.5, 1.5), patch=(64, 64, 64))
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["features_per_stage"] = [
        32, 32, 32,
    ]  # fmt: skip
    classes = {f"c{n}": n for n in range(1, heads)}
    folder = make_bundle("tumor", plans=plans, dataset=tiny.dataset(classes), labels=classes)
    said = ",".join(str(n) for n in shape)
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(folder.parent), said],
        capture_output=True, check=True, text=True,
    )  # fmt: skip
    measured = int(done.stdout.splitlines()[-1])
    scan = Scan(shape, np.eye(4), 2)
    estimate = request_bytes([(load_bundle(folder), [scan])], [scan])
    assert measured <= estimate <= 1.5 * measured, (measured, estimate)


def test_images_of_all_tasks_count_once(make_bundle: MakeBundle) -> None:
    """The largest task decides on top of them."""
    tumor, vessel = load_bundle(make_bundle("tumor")), load_bundle(make_bundle("vessel"))
    a, p = _scan(), _scan((512, 512, 200))
    alone = request_bytes([(tumor, [a])], [a])
    both = request_bytes([(tumor, [a]), (vessel, [a, p])], [a, p])
    assert alone + p.size < both < 2 * (alone + p.size)


def test_what_never_fits_is_told_from_what_does_not_fit_now() -> None:
    """413 for the first, with numbers; 507 for the second."""
    memory = Memory(limit=4 * GIB, cache=ByteCache(0), base=GIB)
    memory.check(2 * GIB, {"image_path": _scan()})
    with pytest.raises(TooLarge, match=r"about 6.0 GiB.*512 x 512 x 300.*has 3.0 GiB") as refused:
        memory.check(6 * GIB, {"image_path": _scan()})
    assert refused.value.status == 413
    assert refused.value.extra["limit_bytes"] == 3 * GIB
    assert f"{512 * 512 * 150:,}" in refused.value.action
    with pytest.raises(InsufficientMemory, match="are free now"):
        Memory(2**60, ByteCache(0), 0).make_room(2**50, {"image_path": _scan()})


def test_what_is_kept_makes_room_for_a_request() -> None:
    """The cache gives way, before anything is refused."""
    cache = ByteCache(GIB)
    cache.put("old", object(), 600 * 2**20)
    cache.put("new", object(), 300 * 2**20)
    memory = Memory(limit=3 * GIB, cache=cache, base=GIB)
    scan = _scan((64, 64, 64))
    memory.make_room(GIB, {"image_path": scan})
    assert cache.held == 900 * 2**20
    memory.make_room(int(1.5 * GIB), {"image_path": scan})
    assert cache.get("old") is None
    assert cache.get("new") is not None
