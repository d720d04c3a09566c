"""`nephra bench`: hands over to the predictors' own benchmarks, on phantoms."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from nephra_cli.commands.geometry import geometry
from nephra_contract.errors import RequestInvalid, Unavailable
from nephra_contract.nifti import write_image
from nephra_contract.volume import Volume

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
_MODULE = "nephra_nnunet"
_SHORT_SLICES, _LONG_SLICES = 300, 1000
_SEED = 7

bench = typer.Typer(no_args_is_help=True, help="Measure nephra beside what it replaces.")


@bench.callback()
def _group() -> None:
    """Measure nephra beside what it replaces."""


bench.command("geometry")(geometry)


@bench.command("nnunet", context_settings=PASS_ON)
def nnunet(
    context: typer.Context,
    image: Annotated[
        list[Path] | None,
        typer.Option("--image", help="NIfTI, one per channel; a phantom where left out."),
    ] = None,
    shape: Annotated[str, typer.Option(help="Of the phantom, in voxels.")] = "512x512x224",
    spacing: Annotated[str, typer.Option(help="Of the phantom, in mm.")] = "0.8x0.8x1.5",
    memory_growth: Annotated[
        bool,
        typer.Option(
            "--memory-growth",
            help=f"Measure nephra's memory at {_SHORT_SLICES} and {_LONG_SLICES} slices.",
        ),
    ] = False,
) -> None:
    """Run stock nnU-Net and nephra on one image and model, and compare cost and labels.

    All other options are those of `python -m nephra_nnunet bench`: --bundle DIR or --size,
    --only, --float32-sums, --stock-python, --threads, --mirroring, --repeat, --backend,
    --device, --json.
    """
    if importlib.util.find_spec(_MODULE) is None:
        raise Unavailable(
            "The nnU-Net predictor is not installed here.",
            "Install it with `pip install nephra-cli[local]`.",
            code="services_missing",
        )
    with tempfile.TemporaryDirectory(prefix="nephra-bench-") as folder:
        drawn = Path(folder) / "image.nii.gz"
        images, longer = image or [drawn], []
        size, spacing_mm = _three(shape), _three(spacing)
        if memory_growth:
            size = (size[0], size[1], _SHORT_SLICES)
        if not image:
            _draw(drawn, size, spacing_mm)
        if memory_growth:
            longer = ["--longer", str(Path(folder) / "longer.nii.gz")]
            prolong(images[0], Path(longer[1]), _LONG_SLICES)
        given = [word for path in images for word in ("--image", str(path))]
        command = [sys.executable, "-m", _MODULE, "bench", *given, *longer, *context.args]
        ended = subprocess.run(command, check=False)  # noqa: S603 - our own module, no shell
    raise typer.Exit(ended.returncode)


def _three(text: str) -> Any:
    """Three positive numbers as `AxBxC`; whole ones stay whole.

    Raises:
        RequestInvalid: it is something else.
    """
    try:
        numbers = tuple(int(n) if n.isdigit() else float(n) for n in text.split("x"))
    except ValueError:
        numbers = ()
    if len(numbers) != 3 or not all(0 < n < np.inf for n in numbers):
        raise RequestInvalid(
            f"'{text}' is not three positive numbers.", "Write them like 512x512x224."
        )
    return numbers


def _draw(path: Path, shape: tuple[int, int, int], spacing_mm: tuple[float, ...]) -> None:
    """Write the portal-venous phase of a phantom, its grid centred on the torso."""
    if importlib.util.find_spec("nephra_phantom") is None:
        raise Unavailable(
            "Drawing an image needs the phantom, which is not installed.",
            "Install it with `pip install nephra-cli[demo]`, or give an --image.",
            code="demo_missing",
        )
    from nephra_phantom import Grid, Phantom

    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = [-(n - 1) * s / 2 for n, s in zip(shape, spacing_mm, strict=True)]
    write_image(path, Phantom(_SEED).volume("P", Grid(shape, affine)))


def prolong(path: Path, target: Path, count: int) -> None:
    """Write an image of `count` slices: those of another one, to and fro."""
    from nephra_contract.nifti import read_image

    image = read_image(path)
    slices = np.arange(count) % (2 * image.shape[2])
    order = np.minimum(slices, 2 * image.shape[2] - 1 - slices)
    write_image(target, Volume(image.voxels[:, :, order], image.affine))
