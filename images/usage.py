"""What of the installed libraries is used: imports all that is listed and says what was loaded.

Run by the image's own Python as `python images/usage.py IMPORTS`; prints JSON: the Python files
of the loaded modules and the shared objects mapped into the process.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
import warnings
from pathlib import Path


def load(names: list[str]) -> None:
    """Import each module that is installed.

    Raises:
        ImportError: an installed module does not import.
    """
    for name in names:
        top = name.partition(".")[0]
        if importlib.util.find_spec(top) is None:
            continue  # an optional library of another image
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            # A class or function of a module rather than a module; or what an optional
            # part of a library would need.
            if error.name is None or not name.startswith(error.name):
                print(f"{name}: no {error.name}", file=sys.stderr)  # noqa: T201


def load_engines() -> None:
    """Let those engines load their parts that do so only when they work."""
    if importlib.util.find_spec("openvino"):
        import numpy as np
        import openvino
        from openvino import opset13 as ops

        image = ops.parameter([1, 1, 8, 8, 8], np.float32, name="image")
        weights = ops.constant(np.ones((2, 1, 3, 3, 3), np.float32))
        kept = ops.convolution(image, weights, [1] * 3, [1] * 3, [1] * 3, [1] * 3)
        model = openvino.Model([kept], [image], "probe")
        compiled = openvino.Core().compile_model(model, "CPU")
        compiled([np.ones((1, 1, 8, 8, 8), np.float32)])


def loaded() -> dict[str, list[str]]:
    """`modules`: Python files; `objects`: shared objects. All absolute."""
    modules = {str(Path(f).resolve()) for m in list(sys.modules.values()) if (f := _file(m))}
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    objects = {line[line.index("/") :] for line in maps if "/" in line and ".so" in line}
    return {"modules": sorted(modules), "objects": sorted(objects)}


def _file(module: object) -> str | None:
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) and file.endswith(".py") else None


def main(imports: str) -> None:
    """Import, and print what was loaded."""
    warnings.simplefilter("ignore")
    load(Path(imports).read_text(encoding="utf-8").split())
    load_engines()
    print(json.dumps(loaded()))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
