"""Base64 in every spelling that clients use."""

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.base64_text import decode_base64
from tests.spellings import spellings

DATA = st.binary(max_size=300)


@given(DATA, st.integers(0, len(spellings(b"")) - 1), st.booleans())
def test_every_spelling_of_the_same_bytes_is_the_same(data, number, as_bytes):
    text = list(spellings(data).values())[number]
    assert decode_base64(text.encode() if as_bytes else text) == data


@given(DATA, st.integers(0, 400), st.sampled_from("!%\u00e9\x00{"))
def test_a_character_that_does_not_belong_is_named_with_its_place(data, place, wrong):
    text = base64.encodebytes(data).decode().strip()
    place = min(place, len(text))
    with pytest.raises(ValueError, match=re.escape(f"character {place + 1} of {len(text) + 1} is {wrong!r}")):
        decode_base64(text[:place] + wrong + text[place:])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("QU JD", "character 3 of 5 is ' ', which base64 does not have; a form or an address turns '\\+' into a space"),
        ("QU=JD", r"padding \('='\) stands at character 3 of 5, which is not its end"),
        ("QQ==QQ==", r"padding \('='\) stands at character 3 of 8"),
        ("QUJDR", "cut short: 5 characters"),
        ("+a-b", "mixes the two alphabets"),
        ("data:image/png,QUJD", "without ';base64'"),
        ("data:image/png;base64,QU*D", "character 25 of 26 is '\\*'"),
    ],
)
def test_broken_base64_is_refused_with_the_reason(text, says):
    for form in (text, text.encode()):
        with pytest.raises(ValueError, match=says):
            decode_base64(form)


@pytest.mark.parametrize("value", [7, None, ["QUJD"], {}])
def test_other_types_than_text_are_refused(value):
    with pytest.raises(TypeError, match=f"not a text but {type(value).__name__}"):
        decode_base64(value)
