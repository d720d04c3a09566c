"""The tree of errors."""

from __future__ import annotations

from nephra_contract import errors
from nephra_contract.errors import NephraError
from nephra_contract.messages import Problem


def _all(kind: type[NephraError]) -> list[type[NephraError]]:
    """The tree as `errors.py` draws it; what other packages hang onto it is their own."""
    own = [k for k in kind.__subclasses__() if k.__module__ == errors.__name__]
    return [kind] + [k for sub in own for k in _all(sub)]


def test_bad_requests_are_never_a_500() -> None:
    """Whatever a request can mend is 4xx, whatever the system can mend is 5xx."""
    for kind in _all(errors.Refused):
        assert 400 <= kind.status < 500, kind
    for kind in _all(errors.Failed):
        assert 500 <= kind.status < 600, kind


def test_codes_are_stable_names() -> None:
    """Each leaf has a code of its own in snake case."""
    codes = [k.default_code for k in _all(NephraError)[1:] if len(_all(k)) == 1]
    assert len(codes) == len(set(codes))
    assert all(c.replace("_", "").isalpha() and c.islower() for c in codes)


def test_a_problem_carries_sentence_action_code_and_extras() -> None:
    """What the error knows reaches the caller."""
    problem = Problem.of(errors.LabelsUnknown("Strange.", "Do this.", strangers=[7])).model_dump()
    assert problem["status"] == 422
    assert problem["code"] == "labels_unknown"
    assert (problem["detail"], problem["action"]) == ("Strange.", "Do this.")
    assert problem["strangers"] == [7]


def test_unavailable_services_say_when_to_ask_again() -> None:
    """503 comes with a time to wait."""
    assert errors.Unavailable("Down.").retry_after_s
