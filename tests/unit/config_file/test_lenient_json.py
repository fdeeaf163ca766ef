"""Handwritten JSON: accepted deviations, and errors with the corrected text."""

import contextlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.config_file.lenient_json import NotJson, parse_json

MEANT = {"modules_info": {"lac": {"init_args": {"use_gpu": True, "path": "http://x/#y"}}}, "port": 8866, "gpu": None}
PLAIN = json.dumps(MEANT, indent=1)


@pytest.mark.parametrize(
    "data",
    [
        PLAIN.encode(),
        b"\xef\xbb\xbf" + PLAIN.encode(),
        PLAIN.encode("utf-16"),
        PLAIN.encode("utf-32"),
        f"// a guide's\n# own\n{PLAIN} /* comment\n of two lines */".encode(),
        PLAIN.replace("8866,", "8866, // the port").replace("\n}", ",\n}").encode(),
        PLAIN.replace("\n", "\r\n").replace("8866,", "8866, # the port").encode(),
        re.sub(r"\n( *)}", r",\n\1}", PLAIN).encode(),
    ],
)
def test_comments_trailing_commas_and_byte_order_marks_are_read(data: bytes) -> None:
    assert parse_json(data).value == MEANT


def test_what_was_accepted_beyond_json_is_reported() -> None:
    assert parse_json(b'{"a": 1}').liberties == ()
    assert parse_json(b'{"a": [1, 2,], // x\n}').liberties == ("a comma after the last item", "comments")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{'a': 'b \"c\"'}", r'strings need double quotes. Write line 1 as: {"a": "b \"c\""}'),
        (
            '{\n"a": True,\n"b": [None, False]}',
            'JSON writes true, false and null. Write line 2 as: "a": true, ; line 3 as: "b": [null, false]}',
        ),
        ('{"a": 1\n "b": 2}', 'a comma is missing. Write line 1 as: {"a": 1,'),
        ('{"a": {} // one\n "b": 2}', 'a comma is missing. Write line 1 as: {"a": {},'),
        (
            "{\u201ca\u201d\uff1a 1\uff0c \u201cb\u201d: \u201c\u56fe\u201d}",
            'commas and colons must be ASCII. Write line 1 as: {"a": 1, "b": "\u56fe"}',
        ),
        ("{'a':\n1,\n'b':\n1,\n'c': 1, 'd': 1,\n'e': 1,\n'f': 1}", "and 2 more lines in the same way"),
        ('{"a": 88x66}', "Expecting ',' delimiter, line 1 column 9: {\"a\": 88x66}"),
        ('{"a": 1', "line 1 column 8"),
        ("", "Expecting value, line 1 column 1"),
    ],
)
def test_what_cannot_be_read_is_answered_with_the_corrected_lines(text: str, says: str) -> None:
    with pytest.raises(NotJson) as caught:
        parse_json(text.encode())
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_encodings_and_depths_are_refused_with_the_reason() -> None:
    with pytest.raises(NotJson, match="line 2 has bytes that are not UTF-8. Save the file as UTF-8"):
        parse_json('{"a":\n"\u4e2d"}'.encode("gbk"))
    with pytest.raises(NotJson, match="nested too deeply"):
        parse_json(b"[" * 100_000)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=8,
    )
)
def test_the_correction_of_what_python_prints_is_what_it_means(value: object) -> None:
    assert parse_json(json.dumps(value).encode()).value == value
    document = f"# printed by Python\n{json.dumps(value, indent=1)}"
    assert parse_json(document.encode()).value == value


@given(st.text(alphabet="{}[]:,\"'#/*\\ \n1aTrue"))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(NotJson):
        parse_json(text.encode())
