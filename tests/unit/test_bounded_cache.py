from hubserve.bounded_cache import Recent


def test_what_was_put_in_first_is_forgotten_first() -> None:
    recent: Recent[str, int] = Recent(2)
    recent["a"], recent["b"] = 1, 2
    recent["a"] = 3  # it is there already
    assert recent == {"a": 3, "b": 2}
    recent["c"] = 4
    assert recent == {"b": 2, "c": 4}
