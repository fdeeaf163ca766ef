"""Headers of what a client prefers."""

import pytest

from hubserve.net.preferences import accepts, preferences


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("", {}),
        (" , ,", {}),
        ("gzip, br;q=0.5", {"gzip": 1.0, "br": 0.5}),
        ("Text/HTML;level=1;q=0.25", {"text/html": 0.25}),
        ("a;q=0.1, a;q=1", {"a": 0.1}),
        ("a;q=2, b;q=-1, c;q=x, d;q=nan, e;q=", {"a": 0.0, "b": 0.0, "c": 0.0, "d": 0.0, "e": 0.0}),
    ],
)
def test_entries_have_weights(value: str, wanted: dict[str, float]) -> None:
    assert preferences(value) == wanted


def test_long_headers_are_read_in_part() -> None:
    assert len(preferences(",".join(f"x{number}" for number in range(10_000)))) == 50


def test_an_entry_is_accepted_by_its_name_alone() -> None:
    assert accepts("text/html,application/xhtml+xml,*/*;q=0.8", "text/html")
    assert not accepts("*/*", "text/html")
    assert not accepts("text/html;q=0", "text/html")
