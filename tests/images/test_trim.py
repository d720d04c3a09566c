"""Trimming takes what is not needed, and a library only where its memory image stays the same."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from images.elf import is_elf, memory_image

from images import trim

ROOT = Path(__file__).resolve().parents[2]
WRITTEN = {
    "lib/__init__.py": "import lib.used",
    "lib/used.py": "",
    "lib/unused.py": "",
    "lib/tests/test_lib.py": "",
    "lib/include/lib.h": "",
    "lib/used.pyi": "",
    "lazy/__init__.py": "import lazy_loader; lazy_loader.attach_stub(__name__, __file__)",
    "lazy/__init__.pyi": "",
    "vtkmodules/vtkUsed.so": "",
    "vtkmodules/vtkUnused.so": "",
    "vtkmodules/web/unused.py": "",
    "setuptools/__init__.py": "",
    "setuptools-1.dist-info/METADATA": "",
    "lib-1.dist-info/licenses/tests.h": "",
}
RECORDS = {
    "setuptools-1.dist-info": ("setuptools/__init__.py", "setuptools-1.dist-info/METADATA"),
    "lib-1.dist-info": ("lib/used.py", "lib/tests/test_lib.py", "lib/include/lib.h"),
}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Some installed libraries."""
    for path, text in WRITTEN.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    for folder, paths in RECORDS.items():
        rows = "".join(f"{path},sha256=x,1\n" for path in (*paths, f"{folder}/RECORD"))
        (tmp_path / folder / "RECORD").write_text(rows)
    return tmp_path


def left(site: Path) -> set[str]:
    """All files, relative."""
    return {p.relative_to(site).as_posix() for p in site.rglob("*") if p.is_file()}


def test_what_only_developers_need_goes(site: Path) -> None:
    """Tests, headers and stubs; but not a stub that is read at run time, nor a licence."""
    before = left(site)
    trim.drop_development(site)
    assert before - left(site) == {"lib/tests/test_lib.py", "lib/include/lib.h", "lib/used.pyi"}


def test_unwanted_distributions_go_whole(site: Path) -> None:
    """With what tells about them, so that no list names what is not there."""
    before = left(site)
    trim.drop_unwanted(site)
    gone = before - left(site)
    assert gone == {p for p in before if p.startswith("setuptools")}
    assert not (site / "setuptools").exists()


def test_parts_that_were_not_loaded_go(site: Path) -> None:
    """Of collections alone; elsewhere what is not loaded now may be loaded later."""
    before = left(site)
    used = {"modules": [], "objects": [str(site / "vtkmodules/vtkUsed.so")]}
    trim.drop_unused(site, used)
    assert before - left(site) == {"vtkmodules/vtkUnused.so", "vtkmodules/web/unused.py"}


def test_records_list_what_is_there(site: Path) -> None:
    """What scans an image for packages finds each file that is listed."""
    trim.drop_development(site)
    trim.correct_records(site)
    listed = (site / "lib-1.dist-info" / "RECORD").read_text().splitlines()
    assert [row.split(",")[0] for row in listed] == ["lib/used.py", "lib-1.dist-info/RECORD"]


def test_byte_code_is_written_of_what_is_used(site: Path) -> None:
    """And of nothing outside of the environment."""
    used = site / "lib" / "used.py"
    trim.compile_used(site, [str(used), __file__])
    assert [p.name.split(".")[0] for p in site.rglob("*.pyc")] == ["used"]


def test_usage_tells_what_imports_load(tmp_path: Path) -> None:
    """Modules and their shared objects; what is no module or not installed is passed over."""
    imports = tmp_path / "imports.txt"
    imports.write_text("json.decoder\njson.decoder.JSONDecoder\nno_such_library.part\nnumpy\n")
    command = [sys.executable, str(ROOT / "images" / "usage.py"), str(imports)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    used = json.loads(found.stdout.splitlines()[-1])
    assert any(path.endswith("json/decoder.py") for path in used["modules"])
    assert any("_multiarray_umath" in path for path in used["objects"])


def test_a_broken_library_is_not_passed_over(tmp_path: Path) -> None:
    """An installed module that does not import ends the build."""
    (tmp_path / "broken.py").write_text("raise ImportError('libx.so is missing')")
    imports = tmp_path / "imports.txt"
    imports.write_text("broken\n")
    command = [sys.executable, str(ROOT / "images" / "usage.py"), str(imports)]
    options = {"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"}
    assert subprocess.run(command, check=False, capture_output=True, env=options).returncode


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """An extension module of an installed library, to be changed."""
    from numpy.random import bit_generator

    return Path(shutil.copy(bit_generator.__file__, tmp_path / "library.so"))


def test_a_memory_image_is_that_of_the_file(library: Path) -> None:
    """The same for a copy; a file that is no library has none."""
    assert is_elf(library)
    assert memory_image(library) == memory_image(Path(shutil.copy(library, f"{library}.copy")))
    assert not is_elf(Path(__file__))


def test_a_changed_byte_changes_the_memory_image(library: Path) -> None:
    """Whatever comes into memory counts; a cut file cannot be loaded at all."""
    whole = memory_image(library)
    assert whole
    content = bytearray(library.read_bytes())
    content[0x1000] ^= 1
    library.write_bytes(content)
    assert memory_image(library) != whole
    library.write_bytes(content[: len(content) // 4])
    assert memory_image(library) is None


@pytest.mark.skipif(not shutil.which("strip"), reason="no binutils here")
def test_stripping_keeps_each_memory_image(tmp_path: Path) -> None:
    """Of whatever libraries; those that `strip` would change stay as they are."""
    import numpy
    import yaml

    folder = tmp_path / "site"
    folder.mkdir()
    for package in (numpy, yaml):
        for path in trim.shared_objects(Path(str(package.__file__)).parent)[:12]:
            shutil.copy(path, folder)
    before = {p.name: memory_image(p) for p in trim.shared_objects(folder)}
    size = trim.size_bytes(folder)
    trim.strip(folder)
    assert {p.name: memory_image(p) for p in trim.shared_objects(folder)} == before
    assert {p.name for p in folder.iterdir()} == set(before)
    assert trim.size_bytes(folder) < size
