from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.net.http1.chunked import ChunkedDecoder
from hubserve.net.http1.head_parser import BadRequest


def decode(*parts: bytes) -> tuple[bytes, bytes]:
    decoder, body = ChunkedDecoder(), b""
    rest = b""
    for part in parts:
        assert not decoder.is_complete
        more, rest = decoder.decode(part)
        body += more
    assert decoder.is_complete
    return body, rest


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.sampled_from([b"", b";a=b", b';x="y z"']), st.data())
def test_a_body_is_the_same_however_it_is_cut(chunks: list[bytes], extension: bytes, data: st.DataObject) -> None:
    trailer = data.draw(st.sampled_from([b"", b"X-Sum: 1\r\nY:\r\n"]))
    whole = b"".join(b"%x%b\r\n%b\r\n" % (len(each), extension, each) for each in chunks) + b"0\r\n" + trailer + b"\r\n"
    cuts = sorted({0, len(whole), *data.draw(st.lists(st.integers(0, len(whole)), max_size=10))})
    *parts, last = (whole[start:end] for start, end in pairwise(cuts))
    assert decode(*parts, last + b"GET /") == (b"".join(chunks), b"GET /")


@pytest.mark.parametrize(
    "wrong",
    [
        b"x\r\n",
        b"-1\r\n",
        b"+5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b" 5\r\nhello\r\n",
        b"\r\n",
        b"5\nhello\r\n",
        b"5\r\nhello\n",
        b"5\r\nhelloX",
        b"5\r\nhello world\r\n",
        b"5\r\nhello\rX",
        b"5;a\x00b\r\nhello\r\n",
        b"5;a\rb\r\nhello\r\n",
        b"10000000000000000\r\n",
        b"ffffffffffffffffffffffff5\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\nA : b\r\n\r\n",
        b"0\r\nA: b\n\r\n",
        b"5;" + b"a" * 20_000,
        b"5;" + b"a" * 20_000 + b"\r\n",
        b"0\r\nX: " + b"a" * 20_000,
        b"1;%b\r\na\r\n" % (b"x" * 200) * 1000,
        b"0\r\n" + b"A: b\r\n" * 10_000 + b"\r\n",
    ],
)
def test_malformed_chunks_are_refused(wrong: bytes) -> None:
    with pytest.raises(BadRequest) as whole:
        ChunkedDecoder().decode(wrong)
    with pytest.raises(BadRequest) as cut:
        decode(*(wrong[at : at + 1] for at in range(len(wrong))))
    assert whole.value.status == cut.value.status == 400


def test_a_body_of_many_small_chunks_is_one_part() -> None:
    body, rest = ChunkedDecoder().decode(b"1\r\na\r\n" * 10_000)
    assert (body, rest) == (b"a" * 10_000, b"")
