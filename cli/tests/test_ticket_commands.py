"""`nephra tickets`, `watch`, `cancel`, and a gateway whose data root is elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner, Result

from nephra_cli.app import app

if TYPE_CHECKING:
    from cli.tests.conftest import Up


@pytest.fixture
def known(up: Up, mask_file: Path) -> str:
    """A ticket that has succeeded."""
    arguments = ["run", "smoothing/base", f"mask_path={mask_file}", "--json"]
    said = CliRunner().invoke(app, [*arguments, "--state", str(up.state)])
    assert said.exit_code == 0, said.stderr
    ticket: str = json.loads(said.stdout)["ticket"]
    return ticket


def ask(up: Up, *arguments: str) -> Result:
    """A command for that nephra, as if it were on another machine."""
    there = ["--url", up.running.url, "--token-file", up.running.token_file]
    return CliRunner().invoke(app, [*arguments, *there])


def test_tickets_are_listed(up: Up, known: str) -> None:
    """The newest first, as a table and as JSON; by state and operation."""
    assert known in ask(up, "tickets").stdout
    listed = json.loads(ask(up, "tickets", "--json", "--all").stdout)
    assert known in [t["ticket"] for t in listed]
    assert known in ask(up, "tickets", "--state", "succeeded").stdout
    assert known not in ask(up, "tickets", "--state", "failed", "--state", "queued").stdout
    assert known in ask(up, "tickets", "--operation", "smoothing/base").stdout
    assert known not in ask(up, "tickets", "--operation", "postprocess/fat").stdout


def test_a_state_that_is_none_is_said(up: Up) -> None:
    """With those that there are."""
    said = ask(up, "tickets", "--state", "done")
    assert said.exit_code == 1
    assert "'done' is no state" in said.stderr
    assert "succeeded" in said.stderr


def test_a_failed_ticket_tells_why(up: Up) -> None:
    """With the sentence of its problem."""
    refused = ask(up, "run", "postprocess/merge", "mask_path=nowhere.nii.gz")
    assert refused.exit_code == 1
    assert "nowhere.nii.gz" in refused.stderr


def test_what_was_made_can_be_had_later(up: Up, known: str, tmp_path: Path) -> None:
    """Watching a ticket that has ended shows its answer, and brings its files from elsewhere."""
    said = ask(up, "watch", known, "--out", str(tmp_path / "out"))
    assert said.exit_code == 0, said.stderr
    assert "kidney_right" in said.stdout
    assert (tmp_path / "out" / "scene.obj").read_text().count("\no kidney") == 2
    assert json.loads(ask(up, "watch", known, "--json").stdout)["ticket"] == known


def test_what_has_ended_cannot_be_cancelled(up: Up, known: str) -> None:
    """That is said, with the gateway's words."""
    said = ask(up, "cancel", known)
    assert said.exit_code == 1
    assert "nephra: " in said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("command", ["watch", "cancel"])
def test_a_ticket_that_nobody_knows_is_said(up: Up, command: str) -> None:
    """One that is none, and one that is not there."""
    assert "not the number" in ask(up, command, "1234").stderr
    assert "no such ticket" in ask(up, command, "f" * 32).stderr


@pytest.mark.parametrize("command", [["tickets"], ["watch", "f" * 32], ["cancel", "f" * 32]])
def test_no_nephra_is_started_to_look_at_tickets(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would begin to work on them."""
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(app, command)
    assert said.exit_code == 1
    assert "No nephra is up" in said.stderr
    assert not list(tmp_path.glob("data*"))


def test_files_go_to_a_gateway_elsewhere_and_back(up: Up, mask_file: Path, tmp_path: Path) -> None:
    """No folder is shared: the mask is sent, the scene is fetched."""
    out = tmp_path / "out"
    said = ask(up, "run", "smoothing/base", f"mask_path={mask_file}", "--out", str(out))
    assert said.exit_code == 0, said.stderr
    assert (out / "scene.obj").read_text().count("\no kidney") == 2
    assert {"scene.obj", "scene.mtl", "scene.glb"} <= {p.name for p in out.iterdir()}
