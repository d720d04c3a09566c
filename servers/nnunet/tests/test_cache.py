from __future__ import annotations

from nephra_nnunet.cache import ByteCache


def test_the_least_recently_used_goes_first() -> None:
    """Looking at a value keeps it."""
    cache = ByteCache(30)
    for name in "abc":
        cache.put(name, name.upper(), 10)
    assert cache.get("a") == "A"
    cache.put("d", "D", 10)
    assert [cache.get(name) for name in "abcd"] == ["A", None, "C", "D"]
    assert cache.held == 30


def test_what_exceeds_the_budget_is_not_kept() -> None:
    """And drives nothing else out."""
    cache = ByteCache(30)
    cache.put("small", 1, 10)
    cache.put("large", 2, 31)
    assert cache.get("large") is None
    assert cache.get("small") == 1


def test_a_value_put_again_counts_once() -> None:
    """Its size is that of the last time."""
    cache = ByteCache(30)
    cache.put("a", 1, 10)
    cache.put("a", 2, 20)
    assert (cache.get("a"), cache.held) == (2, 20)


def test_a_bound_drops_values_until_it_is_lifted() -> None:
    """Meanwhile no more than that is held; afterwards the budget counts again."""
    cache = ByteCache(30)
    for name in "abc":
        cache.put(name, name, 10)
    cache.keep_within(15)
    assert cache.held == 10
    cache.put("d", "d", 10)
    assert [cache.get(name) for name in "abcd"] == [None, None, None, "d"]
    cache.keep_within(-5)
    assert cache.held == 0
    cache.keep_within(100)
    for name in "abcd":
        cache.put(name, name, 10)
    assert cache.held == 30
