from __future__ import annotations

import errno

import pytest

from nephra_contract.errors import NephraError
from nephra_serving.defects import ours


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_whoever_found_it(number: int) -> None:
    """Also where a library says it in words of its own."""
    assert ours(OSError(number, "words")).code == "no_space"
    wrapped = RuntimeError("the library's own words")
    wrapped.__cause__ = OSError(number, "words")
    found = ours(wrapped)
    assert (found.code, found.status) == ("no_space", 507)
    assert "words" not in found.detail


def test_what_nobody_foresaw_says_nothing_of_itself() -> None:
    """Other errors of the system are a defect, and a cause that leads back to itself ends."""
    assert ours(OSError(errno.EACCES, "/secret")).code == "internal_error"
    one, other = RuntimeError(), RuntimeError()
    one.__cause__, other.__cause__ = other, one
    assert ours(one).code == "internal_error"
    assert ours(MemoryError()).code == "insufficient_memory"
    known = NephraError("x")
    assert ours(known) is known
