"""The Python that stock nnU-Net runs with."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import nephra_nnunet
import nephra_serving
from nephra_contract.errors import Unavailable
from nephra_nnunet.bench.libraries import versions_of


def stock_python(named: Path | None) -> Path:
    """The interpreter to run stock with.

    Args:
        named: by the user; None takes this one if it has nnU-Net, else the one of the
            environment beside this one that `make stock` makes.

    Raises:
        Unavailable: there is none, or it has no nnU-Net.
    """
    if named is None and importlib.util.find_spec("nnunetv2") is not None:
        return Path(sys.executable)
    prefix = Path(sys.prefix)
    python = named or prefix.with_name(f"{prefix.name}-stock") / "bin" / "python"
    if {"nnunetv2", "torch"} <= set(versions_of(python)):
        return python
    raise Unavailable(
        "No Python with stock nnU-Net was found."
        if named is None
        else "The Python that --stock-python names does not run, or has no nnunetv2 and torch.",
        "Run `make stock` once, or name one with --stock-python, or measure nephra alone with "
        "--only nephra.",
    )


def lend(folder: Path) -> dict[str, str]:
    """Environment with which another Python finds the benchmark, and nothing else of this one."""
    folder.mkdir()
    for package in (nephra_nnunet, nephra_serving):
        (folder / package.__name__).symlink_to(package.__path__[0])
    return {"PYTHONPATH": str(folder)}
