"""Show that an image holds all that its service needs, and that it runs without writing to it.

`python /opt/nephra/proof.py nephra_gateway` imports every module of our packages that are in the
image and lets the engines that are there do a little work. It ends with 1 and says why where
something is missing. The build runs it as the image's own user; run it again wherever an image is
in doubt.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import pkgutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

#: Modules of ours that need what is in no image: test kits, training, measuring beside others.
ELSEWHERE = ("testing", "bench", "bundles", "torch", "torch_memory", "torch_sink", "stock")

#: Installers, compilers, and what reports home.
NOT_HERE = ("grpc_tools", "openvino_telemetry", "pip", "setuptools", "uv")


def import_all(packages: list[str]) -> list[str]:
    """Import every module of `packages`; those for elsewhere may lack a library.

    Returns:
        What failed, one sentence each.
    """
    failures = []
    for package in packages:
        root = importlib.import_module(package)
        for module in pkgutil.walk_packages(root.__path__, f"{package}.", onerror=lambda _: None):
            try:
                importlib.import_module(module.name)
            except ModuleNotFoundError as error:
                ours = (error.name or "").startswith("nephra_")
                if ours or not set(module.name.split(".")) & set(ELSEWHERE):
                    failures.append(f"{module.name}: {error}")
            except Exception as error:  # noqa: BLE001 - all of them are to be told
                failures.append(f"{module.name}: {type(error).__name__}: {error}")
    return failures


def our_packages() -> list[str]:
    """The import names of all packages of ours that are installed."""
    names = {d.metadata["Name"] for d in importlib.metadata.distributions()}
    return sorted(n.replace("-", "_") for n in names if n.startswith("nephra-"))


def work_with_vtk() -> None:
    """A surface of a cube, smoothed."""
    import numpy as np
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonDataModel import vtkImageData
    from vtkmodules.vtkFiltersCore import vtkFlyingEdges3D, vtkWindowedSincPolyDataFilter

    voxels = np.zeros((8, 8, 8), np.float32)
    voxels[2:6, 2:6, 2:6] = 1
    image = vtkImageData()
    image.SetDimensions(8, 8, 8)
    image.GetPointData().SetScalars(numpy_to_vtk(voxels.ravel()))
    edges = vtkFlyingEdges3D()
    edges.SetInputData(image)
    edges.SetValue(0, 0.5)
    smooth = vtkWindowedSincPolyDataFilter()
    smooth.SetInputConnection(edges.GetOutputPort())
    smooth.Update()
    if not smooth.GetOutput().GetNumberOfCells():
        raise RuntimeError("VTK made no surface")


def work_with_openvino() -> None:
    """A convolution on the CPU."""
    import numpy as np
    import openvino
    from openvino import opset13 as ops

    image = ops.parameter([1, 1, 4, 4, 4], np.float32)
    ones = [1, 1, 1]
    weights = ops.constant(np.ones((1, 1, 3, 3, 3), np.float32))
    layer = ops.convolution(image, weights, ones, ones, ones, ones)
    compiled = openvino.Core().compile_model(openvino.Model([layer], [image]), "CPU")
    if float(compiled([np.ones((1, 1, 4, 4, 4), np.float32)])[0].max()) != 27:
        raise RuntimeError("OpenVINO does not add up")


def work_with_numba() -> None:
    """A function compiled, and its machine code kept where the image may write."""
    import numba

    multiply = numba.njit(lambda a, b: a * b)
    if multiply(6, 7) != 42:
        raise RuntimeError("numba does not multiply")


def work_with_simpleitk() -> None:
    """A file written and read."""
    import SimpleITK

    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "image.nii.gz")
        SimpleITK.WriteImage(SimpleITK.Image(4, 5, 6, SimpleITK.sitkInt16), path)
        if SimpleITK.ReadImage(path).GetSize() != (4, 5, 6):
            raise RuntimeError("SimpleITK reads something else than it wrote")


def work_with_torch() -> None:
    """A convolution on the CPU; which devices there are is the node's business."""
    import torch

    if (
        float(torch.nn.functional.conv3d(torch.ones(1, 1, 3, 3, 3), torch.ones(1, 1, 3, 3, 3)))
        != 27
    ):
        raise RuntimeError("torch does not add up")


def work_with_open3d() -> None:
    """A mesh simplified."""
    import open3d

    sphere = open3d.geometry.TriangleMesh.create_sphere()
    if not len(sphere.simplify_quadric_decimation(100).triangles):
        raise RuntimeError("Open3D made no mesh")


ENGINES: dict[str, Callable[[], None]] = {
    "vtkmodules": work_with_vtk,
    "openvino": work_with_openvino,
    "numba": work_with_numba,
    "SimpleITK": work_with_simpleitk,
    "torch": work_with_torch,
    "open3d": work_with_open3d,
}


def try_engines() -> list[str]:
    """What failed among the engines that are installed, one sentence each."""
    failures = []
    for name, work in ENGINES.items():
        if importlib.util.find_spec(name) is None:
            continue
        try:
            work()
        except Exception as error:  # noqa: BLE001 - all of them are to be told
            failures.append(f"{name}: {type(error).__name__}: {error}")
    return failures


def try_limits() -> list[str]:
    """What the image can do and should not, one sentence each."""
    failures = [f"{n} is installed" for n in NOT_HERE if importlib.util.find_spec(n) is not None]
    if os.getuid() == 0:
        failures.append("this runs as root; the image's user is 10001")
    if os.access(sys.prefix, os.W_OK):
        failures.append(f"{sys.prefix} may be written by this user")
    return failures


def main(service: str) -> int:
    """0 if all is there."""
    warnings.simplefilter("ignore")
    packages = our_packages()
    failures = import_all(packages) + try_engines() + try_limits()
    if service not in packages:
        failures.append(f"{service} is not installed")
    sys.stdout.write(f"{service}: {', '.join(packages)}: {len(failures)} failures\n")
    sys.stderr.write("".join(f"{failure}\n" for failure in failures))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
