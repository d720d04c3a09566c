"""A service is installed from its own requirements and the lock alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from images.closure import Workspace, parse
from images.imports import imported

PROJECT = """
[project]
name = "{name}"
dependencies = {needs}
[project.optional-dependencies]
{extras}
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Two packages of ours, one on top of the other, and a lock."""
    made = {
        "base": ('["NumPy>=2.0"]', "more = [\"uv_icorn[standard]>=1; python_version > '3'\"]"),
        "servers/top": ('["nephra-base[more]", "scipy"]', 'other = ["torch"]'),
    }
    for folder, (needs, extras) in made.items():
        (tmp_path / folder).mkdir(parents=True)
        name = f"nephra-{Path(folder).name}"
        text = PROJECT.format(name=name, needs=needs, extras=extras)
        (tmp_path / folder / "pyproject.toml").write_text(text)
    (tmp_path / "requirements.lock").write_text(
        "numpy==1 ; python_full_version < '3.12' \\\n    --hash=sha256:a\n"
        "numpy==2 ; python_full_version >= '3.12' \\\n    --hash=sha256:b\n"
        "scipy==3 \\\n    --hash=sha256:c\n"
        "uv-icorn==4 \\\n    --hash=sha256:d\n"
    )
    return tmp_path


def test_ours_come_before_what_needs_them(workspace: Path) -> None:
    """The order in which wheels are built."""
    assert Workspace(workspace).folders(["nephra-top"]) == ["base", "servers/top"]
    assert Workspace(workspace).folders(["nephra-base"]) == ["base"]


def test_requirements_are_the_locks_lines(workspace: Path) -> None:
    """All forks of a version, all hashes, extras asked for, and no other library."""
    assert Workspace(workspace).requirements(["nephra-top"]) == (
        "numpy==1 ; python_full_version < '3.12' \\\n    --hash=sha256:a\n"
        "numpy==2 ; python_full_version >= '3.12' \\\n    --hash=sha256:b\n"
        "scipy==3 \\\n    --hash=sha256:c\n"
        "uv-icorn[standard]==4 \\\n    --hash=sha256:d\n"
    )


def test_an_extra_counts_only_where_it_is_asked_for(workspace: Path) -> None:
    """`nephra-base` alone needs no uvicorn."""
    assert set(Workspace(workspace).libraries(["nephra-base"])) == {"numpy"}


def test_what_the_lock_lacks_is_refused(workspace: Path) -> None:
    """As are unknown packages and extras."""
    with pytest.raises(ValueError, match="torch is not in"):
        Workspace(workspace).requirements(["nephra-top[other]"])
    with pytest.raises(ValueError, match="no extra"):
        Workspace(workspace).folders(["nephra-top[nothing]"])
    with pytest.raises(ValueError, match="not a package"):
        Workspace(workspace).folders(["numpy"])


def test_names_are_normalised() -> None:
    """`Uv_Icorn[A, b]` and `uv-icorn[a,b]` are one."""
    assert parse("Uv_Icorn[A, b]>=1") == ("uv-icorn", frozenset({"a", "b"}))
    with pytest.raises(ValueError, match="not a requirement"):
        parse("==1")


def test_engines_imported_inside_functions_are_found(tmp_path: Path) -> None:
    """Of our sources every import of others counts, the standard library's and our own do not."""
    (tmp_path / "nephra_x").mkdir()
    (tmp_path / "nephra_x" / "__init__.py").write_text(
        "import json, nephra_x.y\nfrom . import z\ndef f():\n    from vtk.core import Points\n"
        "    import numpy.linalg\n"
    )
    assert imported(tmp_path) == ["numpy.linalg", "vtk.core", "vtk.core.Points"]
