"""Clients' JSON is parsed within bounds, whatever its form."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import InvalidInput, NotJson, TooLarge
from hubserve.protocols import documents
from hubserve.protocols.arguments import ArgumentReader
from hubserve.protocols.decoders import Decoders
from hubserve.protocols.documents import JsonBounds, is_light, parse_json, parse_object, structure_of

BOUNDS = JsonBounds(20, 1000)

texts = st.text(alphabet=st.sampled_from('[]{},":\\\n\u00e9x'), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=30,
)


def depth_of(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


def count_of(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(count_of, inner))


@given(values, st.sampled_from([1, 2, 3, 7, 1 << 18]), st.booleans())
def test_depth_is_exact_and_the_number_of_values_an_upper_bound(value: Any, piece_bytes: int, ascii_only: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "_PIECE_BYTES", piece_bytes)  # strings and escapes cross the boundaries of pieces
        depth, count = structure_of(json.dumps(value, ensure_ascii=ascii_only).encode())
    assert depth == depth_of(value)
    assert count_of(value) - 1 <= count <= 2 * count_of(value)


@given(st.binary(max_size=200), st.integers(1, 9))
def test_text_that_is_not_json_is_scanned_without_errors(data: bytes, piece_bytes: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "_PIECE_BYTES", piece_bytes)
        structure_of(data)
    with pytest.raises(InvalidInput):
        parse_object(b"!" + data, "it", BOUNDS)


@given(values)
def test_documents_within_bounds_are_parsed(value: Any) -> None:
    assert parse_json(memoryview(json.dumps(value).encode()), "it", JsonBounds(100, 10_000)) == value


def test_integers_of_any_size_stay_exact_beside_the_arguments_of_the_configuration() -> None:
    text = b'{"n": 123456789012345678901234567890, "low": -9223372036854775809}'
    read = asyncio.run(ArgumentReader(Decoders(), BOUNDS).read(text, "the body", {"low": 1, "more": 2}))
    assert json.loads(read.text) == {"n": 123456789012345678901234567890, "low": -9223372036854775809, "more": 2}


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[1,"[",', "]"), (' [ "\\\\\\"[", ', "]")])
@pytest.mark.parametrize("levels", [21, 500, 5000])
def test_the_depth_is_bounded(opening: str, closing: str, levels: int) -> None:
    with pytest.raises(NotJson, match="nested 20 deep"):
        parse_json((opening * levels + "1" + closing * levels).encode(), "it", BOUNDS)
    parse_json((opening * 20 + "1" + closing * 20).encode(), "it", BOUNDS)


def test_the_number_of_values_is_bounded() -> None:
    assert len(parse_json(json.dumps([1] * 999).encode(), "it", BOUNDS)) == 999
    for value in ([1] * 1001, [[]] * 600, {str(each): each for each in range(1001)}):
        with pytest.raises(TooLarge, match="more than 1000 values"):
            parse_json(json.dumps(value).encode(), "it", BOUNDS)


def test_nan_infinity_and_lone_surrogates_are_accepted() -> None:
    assert parse_json(b"[Infinity, -Infinity]", "it", BOUNDS) == [float("inf"), -float("inf")]
    assert parse_json(rb'"\ud800"', "it", BOUNDS) == "\ud800"
    with pytest.raises(NotJson):
        parse_json('{"a":1}'.encode("utf-16"), "it", BOUNDS)
    for encoding in ("utf-16", "utf-32", "utf-16-le", "utf-8-sig"):
        assert parse_json('{"a":"\u2200"}'.encode(encoding), "it", BOUNDS, any_encoding=True) == {"a": "\u2200"}
        with pytest.raises(NotJson, match="nested 20 deep"):
            parse_json(('["\u2200",' * 21 + "1" + "]" * 21).encode(encoding), "it", BOUNDS, any_encoding=True)


def test_small_documents_and_large_texts_are_light_and_many_values_are_not() -> None:
    assert is_light(b"[]," * 20_000)
    assert is_light(b'"%s"' % (b"x" * (4_000_000)))
    assert not is_light(b'"%s"' % (b"x" * (5_000_000)))
    assert not is_light(json.dumps([1] * 40_000).encode())
