"""What is remembered of a running nephra."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest

from nephra_cli.state import Home, Running, all_running
from nephra_contract.errors import Conflict, PathRefused


def _running(home: Home, temporary: bool = False) -> Running:
    return Running(
        "http://127.0.0.1:1",
        str(home.token_file),
        str(home.data),
        str(home.log),
        os.getpid(),
        temporary,
    )


def test_the_token_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Mode 0600, whatever the umask, and the gateway is given its digest only."""
    home = Home.of(tmp_path / "data", tmp_path / "state")
    before = os.umask(0)
    try:
        with home.claim():
            token = home.issue_token()
            assert home.token_file.read_text().strip() == token
            for file in (home.token_file, home.digests_file):
                assert stat.S_IMODE(file.stat().st_mode) == 0o600
            digest = hashlib.sha256(token.encode()).hexdigest()
            assert home.digests_file.read_text().split() == [digest]
    finally:
        os.umask(before)


def test_each_start_has_a_token_of_its_own(tmp_path: Path) -> None:
    """A token that leaked is worth nothing after the next start."""
    home = Home.of(tmp_path / "data", tmp_path / "state")
    with home.claim():
        assert home.issue_token() != home.issue_token()


def test_state_in_the_data_root_is_refused(tmp_path: Path) -> None:
    """Callers can read what lies in the data root: no token may."""
    with pytest.raises(PathRefused):
        Home.of(tmp_path / "data", tmp_path / "data" / ".state")
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    with pytest.raises(PathRefused):
        Home.of(tmp_path / "data", tmp_path / "link" / "state")


def test_one_data_root_has_one_home_by_whatever_name(tmp_path: Path) -> None:
    """A link to the data root, or a relative path, leads to the same lock."""
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    state = tmp_path / "state"
    assert Home.of(tmp_path / "link", state) == Home.of(tmp_path / "data", state)
    assert Home.of(tmp_path / "other", state) != Home.of(tmp_path / "data", state)


def test_a_second_claim_is_refused_and_says_who_holds_it(tmp_path: Path) -> None:
    """The sentence names the address; after the first one ends the claim succeeds."""
    home = Home.of(tmp_path / "data", tmp_path / "state")
    with home.claim():
        home.remember(_running(home))
        with pytest.raises(Conflict, match=r"already up .* http://127\.0\.0\.1:1"), home.claim():
            pass
    with home.claim():
        pass


def test_what_is_up_is_found_while_it_is_held(tmp_path: Path) -> None:
    """A record that its process left behind is not taken for a running nephra."""
    home = Home.of(tmp_path / "data", tmp_path / "state")
    assert home.running() is None
    with home.claim():
        home.remember(_running(home))
        assert home.running() == _running(home)
        assert all_running(tmp_path / "state") == [_running(home)]
        left_behind = (home.folder / "running.json").read_bytes()
    (home.folder / "running.json").write_bytes(left_behind)
    assert home.running() is None
    assert all_running(tmp_path / "state") == []


def test_a_nephra_of_one_command_is_not_lent_to_others(tmp_path: Path) -> None:
    """It would end under their hands."""
    home = Home.of(tmp_path / "data", tmp_path / "state")
    with home.claim():
        home.remember(_running(home, temporary=True))
        assert all_running(tmp_path / "state") == []
        with pytest.raises(Conflict, match="Another nephra command"), home.claim():
            pass


def test_nothing_secret_stays_behind(tmp_path: Path) -> None:
    """When nephra ends, its token goes."""
    home = Home.of(tmp_path / "data", tmp_path / "state")
    with home.claim():
        home.issue_token()
    assert sorted(p.name for p in home.folder.iterdir()) == ["lock"]


def test_a_state_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """A file stands where the folder would be."""
    (tmp_path / "state").write_text("a file")
    with (
        pytest.raises(PathRefused, match="cannot be made"),
        Home.of(tmp_path / "data", tmp_path / "state").claim(),
    ):
        pass
