"""Take out of an environment what no service needs at run time, and add byte code.

Run as `python -m images.trim ENVIRONMENT IMPORTS` in a build stage. There is no list of files:
what goes are a few whole distributions, what only developers need (tests, headers, stubs, static
libraries, debug symbols), and of the libraries that are a collection of independent parts (VTK,
OpenVINO) each part that importing all that our packages import does not load. proof.py then shows
that it was not too much.
"""

from __future__ import annotations

import csv
import json
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from images import elf

HERE = Path(__file__).resolve().parent
TESTS = {"tests", "test"}
#: For who compiles against a library, or checks types.
DEVELOPMENT = {
    ".a", ".c", ".cc", ".cmake", ".cpp", ".cu", ".cuh", ".f", ".f90", ".h", ".hh", ".hpp", ".hxx",
    ".inl", ".lib", ".pc", ".pxd", ".pxi", ".pyi", ".pyx",
}  # fmt: skip
#: Distributions that others ask for and that do no service here.
UNWANTED = {
    "grpcio_tools": "compiles protocols; KServe brings it",
    "openvino_telemetry": "reports each `import openvino` to its maker; OpenVINO has a stub for it",
    "setuptools": "builds packages; grpcio-tools brings it",
}
#: Folders whose files are parts that work without each other.
PARTS = ("vtkmodules", "openvino/libs")


def size_bytes(folder: Path) -> int:
    """Of all files below."""
    return sum(p.lstat().st_size for p in folder.rglob("*") if not p.is_dir())


def drop_unwanted(site: Path) -> None:
    """Delete whole distributions, by what they recorded at installation."""
    for name in UNWANTED:
        for record in site.glob(f"{name}-*.dist-info/RECORD"):
            for path in _recorded(record):
                path.unlink(missing_ok=True)
            _drop_empty(site)


def _recorded(record: Path) -> list[Path]:
    """The files of a distribution, its RECORD the last."""
    site = record.parent.parent
    with record.open(encoding="utf-8", newline="") as file:
        listed = [site / row[0] for row in csv.reader(file) if row]
    return [*(path for path in listed if path != record), record]


def drop_development(site: Path) -> None:
    """Delete tests, headers, sources of extensions, stubs, static libraries."""
    for folder in sorted(p for p in site.rglob("*") if p.is_dir() and p.name in TESTS):
        # A folder of that name inside of another that went is gone already.
        shutil.rmtree(folder, ignore_errors=True)
    for path in site.rglob("*"):
        if path.suffix.lower() in DEVELOPMENT and path.is_file() and not _is_needed(path):
            path.unlink()


def _is_needed(path: Path) -> bool:
    """Whether it tells of a library (licence, version), or is a stub that is read at run time."""
    module = path.with_suffix(".py")
    lazy = path.suffix == ".pyi" and module.is_file() and "attach_stub" in module.read_text("utf-8")
    return lazy or any(part.endswith(".dist-info") for part in path.parts)


def drop_unused(site: Path, used: dict[str, list[str]]) -> None:
    """Delete the parts that were not loaded."""
    kept = {Path(p) for p in used["modules"] + used["objects"]}
    for folder in PARTS:
        for path in sorted((site / folder).rglob("*")):
            if path.is_file() and path.resolve() not in kept:
                path.unlink()
        _drop_empty(site / folder)


def _drop_empty(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def shared_objects(site: Path) -> list[Path]:
    """All ELF libraries and extension modules."""
    files = (p for p in site.rglob("*") if ".so" in p.name and p.is_file() and not p.is_symlink())
    return sorted(p for p in files if elf.is_elf(p))


def strip(site: Path) -> None:
    """Take the symbols that only debuggers read from each library whose memory image stays."""
    for path in shared_objects(site):
        slim = path.with_name(path.name + ".slim")
        command = ["strip", "--strip-unneeded", "-o", str(slim), str(path)]
        done = subprocess.run(command, check=False, capture_output=True)  # noqa: S603
        smaller = done.returncode == 0 and slim.stat().st_size < path.stat().st_size
        if smaller and elf.memory_image(slim) == elf.memory_image(path):
            shutil.copymode(path, slim)
            slim.replace(path)
        else:
            slim.unlink(missing_ok=True)


def compile_used(site: Path, modules: Iterable[str]) -> None:
    """Write byte code of the modules that were loaded; others would only take room.

    It is taken as it is, without a look at the source: nothing changes in an image.
    """
    for module in modules:
        if Path(module).is_relative_to(site):
            py_compile.compile(
                module,
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
                quiet=2,
            )


def correct_records(site: Path) -> None:
    """Let each library's RECORD list only what is there."""
    for record in site.glob("*.dist-info/RECORD"):
        with record.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file) if row and (site / row[0]).exists()]
        with record.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)


def use(python: Path, imports: str) -> dict[str, list[str]]:
    """What is loaded when all of `imports` is imported; see usage.py."""
    command = [str(python), "-B", str(HERE / "usage.py"), imports]
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    used: dict[str, list[str]] = json.loads(found.stdout.splitlines()[-1])
    return used


def measure(site: Path, name: str, step: Callable[[], None]) -> None:
    """Do one step and print how many MB it took or gave."""
    before = size_bytes(site)
    step()
    sys.stdout.write(f"{(size_bytes(site) - before) / 1e6:+8.1f} MB {name}\n")


def main(environment: str, imports: str) -> int:
    """Trim, and print what came of it."""
    (site,) = Path(environment).resolve().glob("lib/python3.*/site-packages")
    sys.stdout.write(f"{size_bytes(site) / 1e6:8.1f} MB installed\n")
    measure(site, "unwanted", lambda: drop_unwanted(site))
    measure(site, "development", lambda: drop_development(site))
    used = use(Path(environment) / "bin" / "python", imports)
    measure(site, "unused parts", lambda: drop_unused(site, used))
    measure(site, "symbols", lambda: strip(site))
    measure(site, "byte code", lambda: compile_used(site, used["modules"]))
    measure(site, "records", lambda: correct_records(site))
    sys.stdout.write(f"{size_bytes(site) / 1e6:8.1f} MB left\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
