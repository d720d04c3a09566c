"""What goes into an image decides its hash, and nothing else does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from images.context import NAMES, ROOT, Ignore, content_hash, context_paths, copied

IGNORE = Ignore((ROOT / ".dockerignore").read_text())


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of all that goes into any image, and of the rules."""
    for path in {p for name in NAMES for p in context_paths(name)} | {ROOT / ".dockerignore"}:
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return tmp_path


def hashes(checkout: Path) -> dict[str, str]:
    """Of all images."""
    return {name: content_hash(name, root=checkout) for name in NAMES}


CHANGES = {
    "gateway/src/nephra_gateway/app.py": {"gateway"},
    "servers/smoothing/src/nephra_smoothing/__main__.py": {"smoothing"},
    "servers/smoothing/pyproject.toml": {"smoothing"},
    "cli/src/nephra_cli/__init__.py": {"postprocess"},
    "serving/src/nephra_serving/main.py": {"nnunet", "nnunet-gpu", "smoothing", "postprocess"},
    "bundles/tumor/bundle.yaml": {"nnunet", "nnunet-gpu"},
    "contract/src/nephra_contract/labels.csv": set(NAMES),
    "requirements.lock": set(NAMES),
    "images/trim.py": set(NAMES),
    "images/build.lock": set(NAMES),
    "images/node.lock": {"gateway"},
    "images/build.py": set(),
    "web/src/main.ts": {"gateway"},
    "web/package-lock.json": {"gateway"},
    "Dockerfile.nnunet": {"nnunet"},
}


@pytest.mark.parametrize("path", CHANGES)
def test_a_hash_changes_if_and_only_if_an_input_does(checkout: Path, path: str) -> None:
    """One more line in a file changes the images that it goes into, and no other."""
    before = hashes(checkout)
    (checkout / path).parent.mkdir(exist_ok=True)
    with (checkout / path).open("a") as file:
        file.write("\n# one line more\n")
    after = hashes(checkout)
    assert {name for name in NAMES if after[name] != before[name]} == CHANGES[path]


@pytest.mark.parametrize(
    "path",
    [
        "contract/src/nephra_contract/__pycache__/paths.cpython-311.pyc",
        "contract/tests/test_paths.py",
        "bundles/tumor/openvino/model.bin",
        "README.md",
    ],
)
def test_what_only_lies_around_changes_nothing(checkout: Path, path: str) -> None:
    """Caches, tests and documents are no input."""
    before = hashes(checkout)
    (checkout / path).parent.mkdir(parents=True, exist_ok=True)
    (checkout / path).write_text("something")
    assert hashes(checkout) == before


def test_a_new_or_renamed_file_changes_the_hash(checkout: Path) -> None:
    """Names count as contents do."""
    first = content_hash("gateway", root=checkout)
    new = checkout / "gateway/src/nephra_gateway/new.py"
    new.touch()
    second = content_hash("gateway", root=checkout)
    new.rename(new.with_name("newer.py"))
    assert len({first, second, content_hash("gateway", root=checkout)}) == 3


def test_build_arguments_count() -> None:
    """Smoothing with Open3D is another image."""
    assert content_hash("smoothing") != content_hash("smoothing", {"EXTRAS": "[open3d]"})


def test_a_hash_is_fit_for_a_tag() -> None:
    """Lower-case hex digits, the same each time."""
    assert content_hash("gateway") == content_hash("gateway")
    assert set(content_hash("gateway")) <= set("0123456789abcdef")


@pytest.mark.parametrize(
    "path",
    [
        ".git/config", ".venv/bin/python", ".venv-stock/bin/python", "data/case.nii.gz",
        "demo-out/scene.obj", "results/mask.nii.gz", "tests/e2e/conftest.py",
        "web/node_modules/vite/index.js", "web/.node/bin/node",
        "gateway/src/nephra_gateway/page/index.html",
        "charts/nephra/values.yaml", "contract/tests/test_paths.py", "contract/.venv/bin/python",
        "serving/src/nephra_serving/__pycache__/main.cpython-311.pyc", ".env", "tokens",
        "bundles/tumor/openvino/model.bin",
    ],
)  # fmt: skip
def test_the_context_keeps_out(path: str) -> None:
    """Git's files, environments, data and secrets never reach a builder."""
    assert IGNORE.ignores(path)


@pytest.mark.parametrize("name", NAMES)
def test_the_context_lets_in_all_that_is_copied(name: str) -> None:
    """Each source of a COPY has files that are not ignored, and some are Python."""
    assert {p.suffix for p in context_paths(name)} >= {".py", ".toml", ".lock"}


def test_an_image_that_lacks_a_source_is_refused(checkout: Path) -> None:
    """Better than an image of something else."""
    shutil.rmtree(checkout / "gateway" / "src")
    (checkout / "gateway" / "pyproject.toml").unlink()
    with pytest.raises(FileNotFoundError, match="gateway"):
        content_hash("gateway", root=checkout)
    with pytest.raises(ValueError, match="no image"):
        content_hash("gatewya")


def test_sources_are_read_from_copies_of_the_context_alone() -> None:
    """Continued lines and options are understood, other stages are left out."""
    text = "COPY a b/ \\\n  there/\n# COPY c d\nCOPY --from=x e f\nCOPY --chmod=555 g h\n"
    assert copied(text) == ["a", "b", "g"]


def test_the_last_rule_that_fits_decides() -> None:
    """As container engines read .dockerignore."""
    rules = Ignore("*\n!a/b\n**/x\n# a\n")
    assert [p for p in ("a", "a/b", "a/b/c", "a/bc", "a/b/x/y", "x") if not rules.ignores(p)] == [
        "a/b",
        "a/b/c",
    ]
