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


def test_making_room_drops_values() -> None:
    """Until no more than that is held."""
    cache = ByteCache(30)
    for name in "abc":
        cache.put(name, name, 10)
    cache.shrink(15)
    assert cache.held == 10
    cache.shrink(-5)
    assert cache.held == 0
