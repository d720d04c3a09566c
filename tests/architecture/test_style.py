"""The house style that no linter holds."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _ours(pattern: str) -> list[Path]:
    """Files that match, but for those in hidden folders: environments and caches."""
    found = (p.relative_to(ROOT) for p in ROOT.glob(pattern))
    return sorted(ROOT / p for p in found if not any(part[0] == "." for part in p.parts))


SOURCES = _ours("**/src/nephra_*/**/*.py")
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "manager", "misc", "common"}


def _functions(path: Path) -> list[tuple[str, int]]:
    """(name, lines of code without the docstring) of each function in a module."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            documented = ast.get_docstring(node) is not None
            docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
            found.append((node.name, (node.end_lineno or 0) - node.lineno + 1 - docstring))
    return found


def test_modules_stay_short_and_are_nouns() -> None:
    """At most 300 lines; none is a drawer for everything."""
    assert len(SOURCES) > 40
    long = {p.relative_to(ROOT).as_posix(): n for p in SOURCES if (n := _lines(p)) > 300}
    assert long == {}
    assert [p for p in SOURCES if p.stem in FORBIDDEN_NAMES] == []


def test_functions_stay_short() -> None:
    """None over 60 lines, nine of ten at most 30."""
    lengths = {(p.stem, name): n for p in SOURCES for name, n in _functions(p)}
    assert {k: n for k, n in lengths.items() if n > 60} == {}
    ordered = sorted(lengths.values())
    assert ordered[int(len(ordered) * 0.9)] <= 30


def test_each_operation_lies_where_its_name_says() -> None:
    """`smoothing/base` is servers/smoothing/.../operations/base.py, with one test file."""
    for server in ("smoothing", "postprocess"):
        folder = ROOT / "servers" / server / "src" / f"nephra_{server}" / "operations"
        names = {p.stem for p in folder.glob("*.py")} - {"__init__"}
        assert names
        for name in names:
            assert f'name="{server}/{name}"' in (folder / f"{name}.py").read_text()
            assert (ROOT / "servers" / server / "tests" / f"test_{name}.py").is_file()


def test_nothing_happens_at_import() -> None:
    """Engines are imported inside functions, so that packages import without them."""
    engines = {"torch", "openvino", "SimpleITK", "vtkmodules", "open3d", "nnunetv2"}
    for path in SOURCES:
        if path.name == "trainer.py":
            continue  # a subclass of nnU-Net's trainer, itself imported only for training
        for node in ast.parse(path.read_text()).body:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not engines & {n.split(".")[0] for n in names}, path


def test_every_test_says_what_it_promises() -> None:
    """One docstring each, and no sleeping."""
    for path in _ours("**/tests/**/test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if node.name.startswith("test_"):
                assert ast.get_docstring(node), (path.name, node.name)


@pytest.mark.parametrize(
    "pattern", [r"/work/", r"/root/", r"pythonhosted", r"\bpypi\.org", r"registry\.npmjs"]
)
def test_the_project_names_no_machine_and_no_registry(pattern: str) -> None:
    """Paths of one machine and package hosts have no place in what others install."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
    ).stdout.split("\0")
    for name in filter(None, listed):
        path = ROOT / name
        if name == "tests/architecture/test_style.py" or not path.is_file():
            continue
        if path.suffix in {".md", ".py", ".toml", ".yaml", ".yml", ".json", ".lock", ".csv", ""}:
            text = path.read_text(encoding="utf-8", errors="ignore")
            assert not re.search(pattern, text), name


def _lines(path: Path) -> int:
    return len(path.read_text().splitlines())
