"""Requests are the same however their bytes are cut, and end where their framing says."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.net.http1.head_parser import BadRequest, Head
from hubserve.net.http1.request_head_cache import RequestHeadCache
from hubserve.net.http1.request_parser import RequestParser


class Body:
    """Receiver of a body."""

    def __init__(self) -> None:
        self.content = b""
        self.is_complete = False

    def feed(self, data: bytes) -> None:
        self.content += data

    def receive_buffer(self) -> None:
        return None

    def buffer_filled(self, count: int) -> None:
        raise AssertionError("there is no buffer")

    def feed_end(self) -> None:
        assert not self.is_complete
        self.is_complete = True


def post(*headers: bytes) -> bytes:
    return b"\r\n".join((b"POST /m HTTP/1.1", b"Host: x", *headers, b"", b""))


REQUESTS = {
    post(): b"",
    post(b"Content-Length: 0"): b"",
    post(b"Content-Length: 4") + b"body": b"body",
    post(b"Transfer-Encoding: chunked") + b"3\r\nbod\r\n1\r\ny\r\n0\r\n\r\n": b"body",
    post(b"Transfer-Encoding: chunked") + b"0\r\n\r\n": b"",
}


def parsed(pieces: list[bytes]) -> tuple[list[tuple[Head, bytes]], RequestParser]:
    parser = RequestParser(RequestHeadCache())
    found: list[tuple[Head, Body]] = []
    for piece in pieces:
        rest = piece
        while rest:
            if parser.request is not None:
                rest = parser.parse_body(rest)
                continue
            head, rest = parser.parse_head(rest)
            if head:
                found.append((head, Body()))
                parser.start_body(*found[-1])
    assert all(body.is_complete for _, body in found[:-1])
    return [(head, body.content) for head, body in found], parser


@given(st.lists(st.sampled_from(sorted(REQUESTS)), min_size=1, max_size=5), st.data())
def test_requests_are_the_same_however_they_are_cut(requests: list[bytes], data: st.DataObject) -> None:
    sent = b"".join(requests)
    cuts = sorted({0, len(sent), *data.draw(st.lists(st.integers(0, len(sent)), max_size=10))})
    found, parser = parsed([sent[start:end] for start, end in pairwise(cuts)])
    assert found == parsed([sent])[0]
    assert [content for _, content in found] == [REQUESTS[each] for each in requests]
    assert parser.request is None
    assert not parser.is_within_head


@pytest.mark.parametrize("request_", [each for each in REQUESTS if REQUESTS[each]])
def test_an_incomplete_request_is_known_as_such(request_: bytes) -> None:
    _, parser = parsed([request_[:-1]])
    assert parser.request is not None
    parser.discard()
    assert parser.request is None
    assert (parser.missing_bytes, parser.is_chunked) == (0, False)


def test_malformed_chunks_are_refused_within_a_body() -> None:
    with pytest.raises(BadRequest, match="malformed chunk"):
        parsed([post(b"Transfer-Encoding: chunked"), b"x\r\n"])
