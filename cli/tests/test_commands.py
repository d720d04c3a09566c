"""The commands as users type them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner, Result

from nephra_cli.app import app
from nephra_cli.commands.run import parse_members
from nephra_contract.errors import RequestInvalid

if TYPE_CHECKING:
    from cli.tests.conftest import Up


def nephra(*arguments: str, up: Up | None = None) -> Result:
    """Run a command; with `up`, against that nephra."""
    found = ["--state", str(up.state), "--data", up.running.data] if up else []
    return CliRunner().invoke(app, [*arguments, *found])


def test_labels_are_listed_without_a_gateway() -> None:
    """As a table, and as JSON with number, name, group and source."""
    shown = nephra("labels")
    assert shown.exit_code == 0
    assert "tumor" in shown.stdout
    listed = json.loads(nephra("labels", "--json").stdout)
    assert {"number": 201, "name": "tumor", "group": "tumor", "source": "nephra"} in listed


def test_the_version_is_told() -> None:
    """As people ask for it when they report something."""
    said = nephra("--version")
    assert said.exit_code == 0
    assert said.stdout.startswith("nephra ")


def test_operations_are_listed_with_what_they_take(up: Up) -> None:
    """Found through the state folder alone."""
    shown = nephra("operations", up=up)
    assert shown.exit_code == 0, shown.stderr
    row = next(line for line in shown.stdout.splitlines() if "postprocess/sample" in line)
    assert "mask_path" in row
    listed = json.loads(nephra("operations", "--json", up=up).stdout)
    assert "smoothing/base" in {o["name"] for o in listed}


def test_bundles_are_listed(up: Up) -> None:
    """A table and a list, even if no model is loaded."""
    assert nephra("bundles", up=up).exit_code == 0
    assert isinstance(json.loads(nephra("bundles", "--json", up=up).stdout), list)


def test_the_only_nephra_that_is_up_is_found(up: Up) -> None:
    """No address, no data root: the state folder tells."""
    said = CliRunner().invoke(app, ["operations", "--json", "--state", str(up.state)])
    assert said.exit_code == 0, said.stderr


def test_an_address_and_a_token_file_are_enough(up: Up, tmp_path: Path) -> None:
    """As for a gateway of another machine; without the token it says no."""
    there = ["operations", "--json", "--state", str(tmp_path), "--url", up.running.url]
    let_in = CliRunner().invoke(app, [*there, "--token-file", up.running.token_file])
    assert let_in.exit_code == 0, let_in.stderr
    refused = CliRunner().invoke(app, there)
    assert refused.exit_code == 1
    assert "token" in refused.stderr


def test_address_and_token_may_come_from_the_environment(
    up: Up, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NEPHRA_URL and NEPHRA_TOKEN."""
    monkeypatch.setenv("NEPHRA_URL", up.running.url)
    monkeypatch.setenv("NEPHRA_TOKEN", Path(up.running.token_file).read_text())
    said = CliRunner().invoke(app, ["operations", "--state", str(tmp_path)])
    assert said.exit_code == 0, said.stderr


def test_run_copies_its_file_in_and_the_results_out(
    up: Up, mask_file: Path, tmp_path: Path
) -> None:
    """A file outside of the data root, a scene in a folder of the user's."""
    out = tmp_path / "out"
    said = nephra(
        "run", "smoothing/base", f"mask_path={mask_file}", "--out", str(out), "--json", up=up
    )
    assert said.exit_code == 0, said.stderr
    answer = json.loads(said.stdout)
    assert answer["operation"] == "smoothing/base"
    assert {"scene.obj", "scene.mtl", "scene.glb"} <= {p.name for p in out.iterdir()}
    assert (out / "scene.obj").read_text().count("\no kidney") == 2


def test_run_shows_a_table_of_volumes(up: Up, mask_file: Path) -> None:
    """Structure and millilitres, one row each."""
    said = nephra("run", "smoothing/base", f"mask_path={mask_file}", up=up)
    assert said.exit_code == 0, said.stderr
    assert "kidney_right" in said.stdout
    assert "mL" in said.stdout


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        (["mask_path=nowhere.nii.gz"], "nowhere.nii.gz"),
        (["mask_path=../../etc/passwd"], "not relative"),
        (["mask_path={mask}", "sigma=1"], "sigma"),
        ([], "mask_path"),
    ],
)
def test_a_problem_is_a_sentence_and_an_action(
    up: Up, mask_file: Path, members: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit status 1, nothing on standard output, no stack trace."""
    monkeypatch.chdir(up.state)
    given = [m.format(mask=mask_file) for m in members]
    said = nephra("run", "smoothing/base", *given, up=up)
    assert said.exit_code == 1
    assert said.stdout == ""
    assert "nephra: " in said.stderr
    assert sentence in said.stderr
    assert "Traceback" not in said.stderr


def test_an_operation_that_nobody_offers_is_said(up: Up) -> None:
    """With what there is instead."""
    said = nephra("run", "inference/brain", up=up)
    assert said.exit_code == 1
    assert "inference/brain" in said.stderr


def test_a_case_needs_a_phase(tmp_path: Path) -> None:
    """Said before anything is started."""
    said = nephra("case", "--out", str(tmp_path / "out"))
    assert said.exit_code == 1
    assert "--arterial" in said.stderr
    assert not (tmp_path / "out").exists()


def test_a_case_that_fails_leaves_no_folder(up: Up, mask_file: Path, tmp_path: Path) -> None:
    """A structure whose phase is missing: the sentence names the phase."""
    out = tmp_path / "out"
    said = nephra(
        "case", "--arterial", str(mask_file), "--structures", "ureter", "--out", str(out), up=up
    )
    assert said.exit_code == 1
    assert "phase D" in said.stderr
    assert not out.exists()


def test_bundle_hands_over_to_the_predictor() -> None:
    """Arguments and exit status pass through unchanged."""
    command = [sys.executable, "-m", "nephra_cli", "bundle", "check", "nowhere"]
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert said.returncode != 0
    assert "nowhere" in said.stderr + said.stdout
    assert "Traceback" not in said.stderr


def test_values_that_are_json_are_taken_as_such() -> None:
    """Numbers, lists and objects; everything else is text."""
    given = ["a=1.5", 'b=["x", "y"]', "c=plain", "d=true", 'e={"kidney": 1}', "f=x=y"]
    assert parse_members(given) == {
        "a": 1.5,
        "b": ["x", "y"],
        "c": "plain",
        "d": True,
        "e": {"kidney": 1},
        "f": "x=y",
    }


@pytest.mark.parametrize("members", [["plain"], ["=1"], ["a b=1"], ["a=1", "a=2"]])
def test_what_is_no_member_is_refused(members: list[str]) -> None:
    """Instead of being guessed at."""
    with pytest.raises(RequestInvalid):
        parse_members(members)
