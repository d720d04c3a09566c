"""The digest of code changes with the code, and with nothing else."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from nephra_contract.code import digest_of


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of two modules that can be imported."""
    folder = tmp_path / "somebodys_step"
    (folder / "inner").mkdir(parents=True)
    for name in ("__init__.py", "inner/__init__.py", "inner/step.py"):
        (folder / name).write_text("X = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    importlib.invalidate_caches()


def _digest() -> str:
    digest_of.cache_clear()
    return digest_of("somebodys_step")


def test_it_changes_with_any_module(package: Path) -> None:
    """A line deep inside counts, and so does a module's name."""
    first = _digest()
    assert first == _digest()
    (package / "inner" / "step.py").write_text("X = 2\n")
    second = _digest()
    (package / "inner" / "step.py").rename(package / "inner" / "other.py")
    assert len({first, second, _digest()}) == 3


def test_what_is_no_source_does_not_count(package: Path) -> None:
    """Byte code and notes beside the code change nothing."""
    first = _digest()
    (package / "inner" / "notes.txt").write_text("x")
    assert first == _digest()


def test_installed_packages_count_with_what_they_need() -> None:
    """The contract alone differs from the contract with somebody else."""
    digest_of.cache_clear()
    assert digest_of("nephra_contract") != digest_of("nephra_contract", "numpy")
    assert digest_of("nowhere_to_be_found") != digest_of("nephra_contract")
