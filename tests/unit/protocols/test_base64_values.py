"""A document split around its base64 value equals the parsed one."""

import json

from hypothesis import given
from hypothesis import strategies as st

from hubserve.protocols.base64_values import split_large_value
from hubserve.protocols.documents import JsonBounds

LARGE = "QUJD" * 2000


def split(text: str) -> dict[str, object] | None:
    found = split_large_value(memoryview(text.encode()), "images", JsonBounds(500, 1 << 20))
    return found and {key: str(value, "ascii") if isinstance(value, memoryview) else value for key, value in found.items()}


KEYS = ["images", "about", '"images":"', "x"]
leaves = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8) | st.sampled_from([LARGE, LARGE + "\\", *KEYS])
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(KEYS), values, max_size=4), st.sampled_from([None, 1]), st.booleans())
def test_a_split_document_equals_the_parsed_one(document: dict[str, object], indent: int | None, ascii_only: bool) -> None:
    result = split(json.dumps(document, indent=indent, ensure_ascii=ascii_only))
    assert result is None or result == document


def test_a_usual_request_is_split_wherever_the_key_stands() -> None:
    about = {"shape": [1], "dtype": "uint8"}
    misleading = {"note": '"images": "' + LARGE, "images": LARGE}
    for document in ({"images": LARGE, "about": about}, {"about": about, "images": LARGE}, misleading):
        assert split(json.dumps(document)) == document


def test_a_document_with_a_nested_key_an_escape_or_a_missing_end_is_not_split() -> None:
    assert split(json.dumps({"about": {"images": LARGE}, "images": 1})) is None
    assert split(f'{{"images": "{LARGE}\\/"}}') is None
    assert split('{"images": "' + LARGE) is None


def test_a_repeated_key_is_read_as_the_parser_reads_it() -> None:
    other = LARGE[:-4] + "REVG"
    text = f'{{"images": "{LARGE}", "images": "{other}"}}'
    assert split(text) in (None, json.loads(text))
