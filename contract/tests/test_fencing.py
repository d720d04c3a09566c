"""Who has lost a ticket writes nothing for it any more, and a step has one result."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nephra_contract import execution
from nephra_contract.errors import Cancelled, Conflict
from nephra_contract.execution import execute
from nephra_contract.fences import Fence, check_open, close_ticket, open_ticket
from nephra_contract.labels import KIDNEY_LEFT
from nephra_contract.nifti import write_labels
from nephra_contract.operation import Input, NoParameters, Operation, Outcome
from nephra_contract.paths import DataRoot
from nephra_contract.progress import Progress
from nephra_contract.results import place, result_folder
from nephra_contract.volume import LabelMap

TICKET = "a" * 32
INPUT = (Input("mask_path", "mask", "A mask."),)

#: Begins a result, says so, and goes on writing until it is killed.
WRITER = """
import sys
from pathlib import Path
from nephra_contract.paths import DataRoot
from nephra_contract.fences import Fence
from nephra_contract.results import result_folder

with result_folder(DataRoot(Path(sys.argv[1])), sys.argv[2], "toy", Fence()) as (partial, final):
    (partial / "half").write_text("half")
    print("begun", flush=True)
    sys.stdin.read()
"""


def _tree(data: DataRoot) -> set[str]:
    return {p.relative_to(data.root).as_posix() for p in data.root.rglob("*")}


def _write(partial: Path, content: str = "x", **manifest: Any) -> None:
    (partial / "a.txt").write_text(content)
    (partial / "manifest.json").write_text(json.dumps({"operation": "toy", **manifest}))


def test_results_of_an_open_ticket_stay_when_it_is_closed(data: DataRoot) -> None:
    """What was finished lies at its place, and nothing else is left."""
    open_ticket(data, TICKET)
    check_open(data, TICKET)
    for step in ("", "again"):
        with result_folder(data, TICKET, "toy", Fence(step)) as (partial, final):
            _write(partial)
            assert not final.exists()
    close_ticket(data, TICKET)
    home = data.root / "results" / TICKET
    assert sorted(p.name for p in home.iterdir()) == ["toy", "toy-again"]
    with pytest.raises(Cancelled):
        check_open(data, TICKET)


def test_closing_sweeps_what_work_without_a_step_has_left(data: DataRoot) -> None:
    """A predictor that knows of tickets alone may die as well."""
    open_ticket(data, TICKET)
    home = data.root / "results" / TICKET
    (home / ".toy.0123abcd").mkdir()
    with result_folder(data, TICKET, "toy") as (partial, _):
        _write(partial)
    close_ticket(data, TICKET)
    assert [p.name for p in home.iterdir()] == ["toy"]


def test_a_ticket_is_opened_once(data: DataRoot) -> None:
    """Nobody gets a folder that is somebody else's."""
    open_ticket(data, TICKET)
    with pytest.raises(FileExistsError):
        open_ticket(data, TICKET)


def test_nobody_begins_or_ends_a_result_when_the_ticket_has_ended(data: DataRoot) -> None:
    """Late work is cancelled before it begins, and at its last rename."""
    open_ticket(data, TICKET)

    def end_late() -> None:
        with result_folder(data, TICKET, "toy", Fence()) as (partial, _):
            _write(partial)
            close_ticket(data, TICKET)

    with pytest.raises(Cancelled) as late:
        end_late()
    assert late.value.code == "ticket_closed"
    left = _tree(data)
    with pytest.raises(Cancelled), result_folder(data, TICKET, "toy", Fence()) as (_partial, _):
        raise AssertionError("it must not begin")
    assert _tree(data) == left == {"results", f"results/{TICKET}"}


def test_a_writer_in_the_middle_of_a_file_is_cancelled(data: DataRoot) -> None:
    """Whatever its library says of the folder that has gone."""
    open_ticket(data, TICKET)

    def go_on_writing() -> None:
        with result_folder(data, TICKET, "toy", Fence()) as (partial, _):
            close_ticket(data, TICKET)
            try:
                (partial / "more.txt").write_text("x")
            except OSError as error:
                raise RuntimeError("the library's own words") from error

    with pytest.raises(Cancelled):
        go_on_writing()
    assert _tree(data) == {"results", f"results/{TICKET}"}


def test_a_killed_attempt_leaves_nothing_behind(data: DataRoot) -> None:
    """Its half result is neither found by the next attempt nor kept when the ticket ends."""
    open_ticket(data, TICKET)
    command = [sys.executable, "-c", WRITER, str(data.root), TICKET]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "begun\n"
        killed.send_signal(signal.SIGKILL)
        killed.wait(60)
    assert any(name.endswith("/half") for name in _tree(data))
    with result_folder(data, TICKET, "toy", Fence()) as (partial, final):
        assert list(partial.iterdir()) == []
        _write(partial)
    close_ticket(data, TICKET)
    made = f"results/{TICKET}"
    assert _tree(data) == {"results", made} | {
        f"{made}/{n}" for n in ("toy", "toy/a.txt", "toy/manifest.json")
    }
    assert final.is_dir()


def test_of_two_attempts_the_first_whole_one_wins(data: DataRoot) -> None:
    """The other one takes it for its own: nothing lies over or beside it."""
    open_ticket(data, TICKET)
    with result_folder(data, TICKET, "toy", Fence()) as (old, final):
        _write(old, "old")
        with result_folder(data, TICKET, "toy", Fence()) as (new, same):
            _write(new, "new")
        assert same == final
    assert (final / "a.txt").read_text() == "new"
    close_ticket(data, TICKET)
    assert [p.name for p in final.parent.iterdir()] == ["toy"]


def test_another_result_is_not_taken_for_ones_own(data: DataRoot) -> None:
    """Other parameters under the same step are a conflict, and the first result stays."""
    open_ticket(data, TICKET)
    with result_folder(data, TICKET, "toy", Fence()) as (partial, final):
        _write(partial, parameters={"size": 1})
    with pytest.raises(Conflict), result_folder(data, TICKET, "toy", Fence()) as (partial, _):
        _write(partial, parameters={"size": 2})
    assert json.loads((final / "manifest.json").read_text())["parameters"] == {"size": 1}


def _mask(data: DataRoot) -> None:
    voxels = np.zeros((8, 8, 8), np.uint8)
    voxels[2:6, 2:6, 2:6] = KIDNEY_LEFT
    write_labels(data.root / "m.nii.gz", LabelMap(voxels, np.eye(4)))


def _operation(*reports: int, between: Any = None) -> Operation:
    """An operation whose report tells its attempts apart."""
    said = iter(reports)

    def toy(labels: LabelMap, parameters: NoParameters, progress: Progress) -> Outcome:
        if between is not None:
            between()
        return Outcome(labels, {"attempt": next(said)})

    return Operation("x/toy", INPUT, NoParameters, toy)


def test_an_attempt_answers_what_lies_there(data: DataRoot) -> None:
    """The report is that of the result that won, whoever is asked."""
    _mask(data)
    open_ticket(data, TICKET)
    operation = _operation(1, 2)
    request = {"mask_path": "m.nii.gz", "ticket": TICKET, "step": "", "output_path": "o/m.nii.gz"}
    first, second = (execute(operation, request, data, Progress()) for _ in range(2))
    assert first == second
    assert second.report == {"attempt": 1}
    assert second.mask_path == "o/m.nii.gz"
    assert sorted(p.name for p in (data.root / "o").iterdir()) == ["m.labels.json", "m.nii.gz"]


@pytest.mark.parametrize("output", [{}, {"output_path": "o/m.nii.gz"}])
def test_an_operation_whose_ticket_was_closed_publishes_nothing(
    data: DataRoot, output: dict[str, str]
) -> None:
    """Neither among the results nor at `output_path`, even if it computes to its end."""
    _mask(data)
    open_ticket(data, TICKET)
    operation = _operation(1, between=lambda: close_ticket(data, TICKET))
    request = {"mask_path": "m.nii.gz", "ticket": TICKET, "step": "", **output}
    with pytest.raises(Cancelled):
        execute(operation, request, data, Progress())
    with pytest.raises(Cancelled):
        execute(operation, request, data, Progress())
    assert _tree(data) == {"m.nii.gz", "results", f"results/{TICKET}"}


def test_an_operation_whose_result_is_removed_at_once_is_cancelled(
    data: DataRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result lay there for a moment; that it is gone is no defect of nephra."""
    _mask(data)
    open_ticket(data, TICKET)

    @contextmanager
    def removed(*given: Any) -> Iterator[tuple[Path, Path]]:
        with result_folder(*given) as folders:
            yield folders
        shutil.rmtree(data.root / "results" / TICKET)

    monkeypatch.setattr(execution, "result_folder", removed)
    request = {"mask_path": "m.nii.gz", "ticket": TICKET, "step": ""}
    with pytest.raises(Cancelled) as late:
        execute(_operation(1), request, data, Progress())
    assert late.value.code == "ticket_closed"


def test_a_copy_is_not_placed_once_the_workshop_has_gone(data: DataRoot) -> None:
    """The last step of `output_path` is a rename out of the ticket's folder."""
    open_ticket(data, TICKET)
    source = data.root / "a.txt"
    source.write_text("x")
    workshop = data.root / "results" / TICKET / ".work-0"
    assert place(source, data, "o/b.txt", set(), workshop).read_text() == "x"
    close_ticket(data, TICKET)
    with pytest.raises(OSError, match="No such file"):
        place(source, data, "o/c.txt", set(), workshop)
    assert [p.name for p in (data.root / "o").iterdir()] == ["b.txt"]


def test_a_ticket_without_a_step_needs_nobody_to_open_it(data: DataRoot) -> None:
    """A bare call may name one: its folder is made, and a second result gets a number."""
    _mask(data)
    operation = _operation(1, 2)
    request = {"mask_path": "m.nii.gz", "ticket": TICKET}
    for _ in range(2):
        execute(operation, request, data, Progress())
    home = data.root / "results" / TICKET
    assert sorted(p.name for p in home.iterdir()) == ["x-toy", "x-toy-2"]


def test_an_earlier_attempt_cannot_write_any_more(data: DataRoot) -> None:
    """Who opens the ticket again takes the folder away that the one before was writing in."""
    open_ticket(data, TICKET, 1)
    frozen = result_folder(data, TICKET, "toy", Fence("", 1))
    partial, _ = frozen.__enter__()
    (partial / "manifest.json").write_text("{}")
    open_ticket(data, TICKET, 2)
    with pytest.raises(Cancelled):
        frozen.__exit__(None, None, None)
    with pytest.raises(Cancelled):
        check_open(data, TICKET, Fence("", 1))
    check_open(data, TICKET, Fence("", 2))
    assert {p.name for p in (data.root / "results" / TICKET).iterdir()} == {".work-2"}


def test_an_attempt_is_begun_once(data: DataRoot) -> None:
    """Two that believe to be the same attempt are not both right."""
    open_ticket(data, TICKET, 1)
    with pytest.raises(FileExistsError):
        open_ticket(data, TICKET, 1)
