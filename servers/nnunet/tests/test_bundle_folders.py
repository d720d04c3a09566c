"""Bundles from several folders at once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nephra_contract.errors import BundleInvalid
from nephra_nnunet.backends import open_backend
from nephra_nnunet.bundle_command import main
from nephra_nnunet.engine import open_engine
from nephra_nnunet.settings import Settings

Move = Callable[..., Path]


@pytest.fixture
def put(make_bundle: Any, tmp_path: Path) -> Move:
    """Makes a bundle in a folder of one's choice; gives that folder."""

    def make(folder: str, task: str, **manifest: Any) -> Path:
        made: Path = make_bundle(task, **manifest)
        home = tmp_path / folder
        home.mkdir(exist_ok=True)
        made.rename(home / made.name)
        return home

    return make


def test_all_folders_are_served(put: Move, monkeypatch: pytest.MonkeyPatch) -> None:
    """NEPHRA_BUNDLES names them as PATH does."""
    folders = [put("a", "tumor"), put("b", "ureter")]
    monkeypatch.setenv("NEPHRA_BUNDLES", os.pathsep.join(map(str, folders)))
    found = Settings().bundle_folders
    assert list(found) == folders
    engine = open_engine(found, open_backend("openvino", 1, "cpu"))
    assert sorted(engine.bundles) == ["tumor", "ureter"]


def test_two_bundles_of_one_name_are_refused(put: Move) -> None:
    """Both places are named, without the host's tree above them."""
    folders = [put("a", "tumor"), put("b", "tumor", default=False)]
    with pytest.raises(BundleInvalid, match="a/tumor and b/tumor") as refused:
        open_engine(folders, open_backend("openvino", 1, "cpu"))
    assert str(folders[0]) not in refused.value.detail


def test_two_defaults_for_a_task_are_refused(put: Move, make_bundle: Any) -> None:
    """Which model runs where none is named must not depend on the order of folders."""
    folders = [put("a", "tumor"), make_bundle("tumor", name="other", default=True).parent]
    with pytest.raises(BundleInvalid, match="default for the task 'tumor'"):
        open_engine(folders, open_backend("openvino", 1, "cpu"))


def test_the_command_lists_all_and_adds_to_the_first(
    put: Move, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """And refuses a name that any of the folders has."""
    folders = [put("a", "tumor"), put("b", "ureter")]
    assert main(["list"], *folders) == 0
    assert list(json.loads(capsys.readouterr().out)) == ["tumor", "ureter"]
    assert main(["check", "ureter"], *folders) == 0
    assert json.loads(capsys.readouterr().out)["ureter"]["ready"] is True
    source = str(folders[0] / "tumor")
    asked = ["add", "ureter", "--task", "tumor", "--from", source]
    assert main(asked, *folders) == 2
    assert "already" in json.loads(capsys.readouterr().err)["detail"]
    asked[1] = "fresh"
    assert main([*asked, "--labels", "kidney=200,tumor=201"], *folders) == 0
    assert (folders[0] / "fresh" / "bundle.yaml").is_file()
