"""Files in pieces, over connections that break."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from cli_toys.gateway import Script, served
from nephra_cli import Client, files
from nephra_cli.transfer import fetch_out, send_in
from nephra_contract.errors import NephraError, PathRefused

CONTENT = bytes(range(256)) * 100


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a small file is many."""
    monkeypatch.setattr(files, "PIECE_BYTES", 10_000)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of this machine."""
    path = tmp_path / "ct ü.nii.gz"
    path.write_bytes(CONTENT)
    return path


def test_a_file_arrives_whole_though_answers_get_lost(source: Path) -> None:
    """Each piece once, at the place where the gateway is; its digest stands beside it."""
    script = Script(breaks=[0, 0])
    with served(script) as url, Client(url) as client:
        client.upload(source, "in/ct.nii.gz")
    assert script.files == {"in/ct.nii.gz": CONTENT}
    sent = script.headers("PUT", "/files/in/ct.nii.gz")
    digest = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
    assert {h["Repr-Digest"] for h in sent} == {f"sha-256=:{digest}:"}
    ranges = {h["Content-Range"] for h in sent}
    assert ranges == {"bytes 0-9999/25600", "bytes 10000-19999/25600", "bytes 20000-25599/25600"}


def test_an_upload_goes_on_where_an_earlier_one_ended(source: Path) -> None:
    """Another command may have begun it."""
    script = Script(files={"ct.part": CONTENT[:10_000]})
    with served(script) as url, Client(url) as client:
        client.upload(source, "ct")
    assert script.files == {"ct": CONTENT}
    assert len(script.headers("PUT", "/files/ct")) == 2


def test_what_is_there_is_not_sent_again(source: Path) -> None:
    """Whoever has brought it."""
    script = Script(files={"ct": CONTENT})
    with served(script) as url, Client(url) as client:
        client.upload(source, "ct")
    assert not script.headers("PUT", "/files/ct")


def test_an_empty_file_is_one(tmp_path: Path) -> None:
    """It is for the gateway's operations to say that it is no image."""
    empty = tmp_path / "empty"
    empty.touch()
    script = Script()
    with served(script) as url, Client(url) as client:
        client.upload(empty, "empty")
    assert script.files == {"empty": b""}


def test_a_download_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    """Whole in the end, and nothing beside it."""
    script = Script(files={"results/m.nii.gz": CONTENT}, breaks=[9000, 20_000])
    with served(script) as url, Client(url) as client:
        brought = fetch_out({"results/m.nii.gz": "mask.nii.gz"}, client, tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mask.nii.gz"]
    assert brought[0].read_bytes() == CONTENT
    asked = [h.get("Range") for h in script.headers("GET", "/files/results/m.nii.gz")]
    assert asked == [None, "bytes=9000-", "bytes=20000-"]


def test_a_file_that_is_not_there_leaves_nothing(tmp_path: Path) -> None:
    """Neither a file nor half of one."""
    with served(Script()) as url, Client(url) as client, pytest.raises(NephraError):
        client.download("nowhere", tmp_path / "out" / "x")
    assert not list((tmp_path / "out").iterdir())


def test_files_of_this_machine_are_sent_to_a_gateway_elsewhere(source: Path) -> None:
    """Under a name made of their content; others are left for the gateway to judge."""
    script = Script()
    with served(script) as url, Client(url) as client:
        name = send_in(str(source), client)
        assert send_in("ct/a.nii.gz", client) == "ct/a.nii.gz"
        with pytest.raises(PathRefused):
            send_in(str(source.parent), client)
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert name == f"uploads/{digest[:16]}/ct__.nii.gz"
    assert list(script.files) == [name]
