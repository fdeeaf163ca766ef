from hubserve.bounded_cache import BoundedCache


def test_a_full_cache_drops_its_oldest_entry() -> None:
    cache: BoundedCache[str, int] = BoundedCache(2)
    cache["a"], cache["b"] = 1, 2
    cache["a"] = 3  # overwrites an entry, which stays the oldest
    assert cache == {"a": 3, "b": 2}
    cache["c"] = 4
    assert cache == {"b": 2, "c": 4}
