from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.net.http1.head_parser import MAX_FIELDS, BadRequest, Head, parse_head
from hubserve.net.http1.request_head_cache import MAX_HEAD_BYTES, HeadReader, RequestHeadCache

LINE = b"POST /predict/m?x=%20 HTTP/1.1\r\n"
HEAD = LINE + b"Host: x\r\nContent-Length: 5\r\n\r\n"


def get(*lines: bytes, line: bytes = b"GET / HTTP/1.1") -> bytes:
    return b"\r\n".join((line, b"Host: x", *lines, b"", b""))


def refused(raw: bytes) -> int:
    """Return the status of the refusal; the head must be refused again, not cached."""
    heads = RequestHeadCache()
    with pytest.raises(BadRequest) as first:
        HeadReader(heads).read(raw)
    with pytest.raises(BadRequest):
        HeadReader(heads).read(raw)  # and is not cached as valid
    return first.value.status


def test_a_parsed_head_has_what_the_protocols_need() -> None:
    made = parse_head(LINE + b"HOST:x \r\nContent-Length: 5\r\nX-One: 1\r\nx-one: 2\r\nExpect: 100-Continue\r\nEmpty:\r\n\r\n")
    assert (made.scope["path"], made.scope["query_string"], made.scope["method"]) == ("/predict/m", b"x=%20", "POST")
    assert made.scope["hubserve.headers"] == {
        b"host": b"x", b"content-length": b"5", b"x-one": b"1", b"expect": b"100-Continue", b"empty": b"",
    }  # fmt: skip
    assert (b"x-one", b"2") in made.scope["headers"]
    assert (made.announced_bytes, made.expects_continue, made.keep_alive, made.is_chunked) == (5, True, True, False)


@pytest.mark.parametrize(
    ("raw", "keeps_alive"),
    [
        (get(), True),
        (get(b"Connection: keep-alive"), True),
        (get(b"Connection: Keep-Alive, Close"), False),
        (get(b"Connection: x", b"connection:close"), False),
        (get(line=b"GET / HTTP/1.0"), False),
        (get(b"Connection: Upgrade", b"Upgrade: h2c"), True),
    ],
)
def test_the_head_decides_whether_the_connection_is_kept(raw: bytes, keeps_alive: bool) -> None:
    assert parse_head(raw).keep_alive is keeps_alive


@pytest.mark.parametrize(
    ("line", "path", "host"),
    [
        (b"GET http://other.example:80/a?b HTTP/1.1", "/a", b"other.example:80"),
        (b"GET HTTP://other.example HTTP/1.1", "/", b"other.example"),
        (b"GET http://[::1]:8866/a#b HTTP/1.1", "/a", b"[::1]:8866"),
        (b"GET /a%20b#c HTTP/1.1", "/a b", b"x"),
        (b"OPTIONS * HTTP/1.1", "*", b"x"),
    ],
)
def test_the_host_is_that_of_the_target_if_it_has_one(line: bytes, path: str, host: bytes) -> None:
    made = parse_head(get(line=line))
    assert made.scope["path"] == path
    assert made.scope["hubserve.headers"][b"host"] == host
    assert [value for name, value in made.scope["headers"] if name == b"host"] == [host]


REFUSED = {
    "a method in lower case": (get(line=b"get / HTTP/1.1"), 501),
    "an unknown method": (get(line=b"FETCH / HTTP/1.1"), 501),
    "CONNECT": (get(line=b"CONNECT x:80 HTTP/1.1"), 501),
    "no version": (b"GET /\r\n\r\n", 400),
    "a version to come": (get(line=b"GET / HTTP/2.0"), 505),
    "a version that never was": (get(line=b"GET / HTTP/1.2"), 505),
    "a version in lower case": (get(line=b"GET / http/1.1"), 400),
    "two spaces": (get(line=b"GET  / HTTP/1.1"), 400),
    "a space at the end": (get(line=b"GET / HTTP/1.1 "), 400),
    "a space in front": (get(line=b" GET / HTTP/1.1"), 400),
    "a tab": (get(line=b"GET\t/ HTTP/1.1"), 400),
    "a control character in the target": (get(line=b"GET /\x7f HTTP/1.1"), 400),
    "no path": (get(line=b"GET x HTTP/1.1"), 400),
    "an asterisk": (get(line=b"GET * HTTP/1.1"), 400),
    "a user in the target": (get(line=b"GET http://me@x/ HTTP/1.1"), 400),
    "no host in the target": (get(line=b"GET http:///a HTTP/1.1"), 400),
    "another scheme": (get(line=b"GET ftp://x/ HTTP/1.1"), 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "no header Host beside that of the target": (b"GET http://x/ HTTP/1.1\r\n\r\n", 400),
    "two hosts": (get(b"Host: x"), 400),
    "two hosts of HTTP/1.0": (get(b"Host: y", line=b"GET / HTTP/1.0"), 400),
    "a host with a path": (b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n", 400),
    "a host with a space": (b"GET / HTTP/1.1\r\nHost: x y\r\n\r\n", 400),
    "a list of hosts": (b"GET / HTTP/1.1\r\nHost: x, y z\r\n\r\n", 400),
    "no colon": (get(b"nothing"), 400),
    "no name": (get(b": x"), 400),
    "a space before the colon": (get(b"Content-Length : 5"), 400),
    "a space before the name": (get(b" X: y"), 400),
    "a folded line": (get(b"X: y", b" z"), 400),
    "a name of other bytes": (get(b"X\xff: y"), 400),
    "a zero byte": (get(b"X: a\x00b"), 400),
    "a line end in a value": (get(b"X: a\rb"), 400),
    "a bare LF": (b"GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n", 400),
    "bare LFs": (b"GET / HTTP/1.1\nHost: x\n\n", 400),
    "an early bare LF": (b"GET / HTTP/1.1\n", 400),
    "a bare CR": (b"GET / HTTP/1.1\rHost", 400),
    "a line without its rest": (b"this is no request\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "a negative length": (get(b"Content-Length: -5"), 400),
    "a sign": (get(b"Content-Length: +5"), 400),
    "an underscore": (get(b"Content-Length: 1_0"), 400),
    "a space within": (get(b"Content-Length: 1 0"), 400),
    "hexadecimal digits": (get(b"Content-Length: 0x5"), 400),
    "digits of Latin-1": (get(b"Content-Length: \xb2"), 400),
    "no digits": (get(b"Content-Length:"), 400),
    "a list of lengths": (get(b"Content-Length: 5, 5"), 400),
    "two lengths": (get(b"Content-Length: 5", b"Content-Length: 6"), 400),
    "the same length twice": (get(b"Content-Length: 5", b"content-length: 5"), 400),
    "5000 zeros": (get(b"Content-Length: " + b"0" * 5000), 400),
    "a length of 19 digits": (get(b"Content-Length: " + b"9" * 19), 400),
    "both framings": (get(b"Content-Length: 5", b"Transfer-Encoding: chunked"), 400),
    "gzip, chunked": (get(b"Transfer-Encoding: gzip, chunked"), 400),
    "chunked, gzip": (get(b"Transfer-Encoding: chunked, gzip"), 400),
    "chunked twice": (get(b"Transfer-Encoding: chunked, chunked"), 400),
    "chunked in two lines": (get(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 400),
    "gzip and chunked in two lines": (get(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"), 400),
    "identity": (get(b"Transfer-Encoding: identity"), 400),
    "no coding": (get(b"Transfer-Encoding:"), 400),
    "a vertical tab before chunked": (get(b"Transfer-Encoding: \x0bchunked"), 400),
    "chunks in HTTP/1.0": (get(b"Transfer-Encoding: chunked", line=b"POST / HTTP/1.0"), 400),
    "another expectation": (get(b"Expect: 200-ok"), 417),
    "too many headers": (get(*[b"a: b"] * MAX_FIELDS), 431),
    "too large": (get(b"X: " + b"a" * MAX_HEAD_BYTES), 431),
    "too large without an end": (b"GET / HTTP/1.1\r\nX: " + b"a" * MAX_HEAD_BYTES, 431),
    "a line that is too large": (b"GET /" + b"a" * MAX_HEAD_BYTES, 431),
}


@pytest.mark.parametrize(("raw", "status"), REFUSED.values(), ids=REFUSED)
def test_malformed_or_ambiguous_heads_are_refused(raw: bytes, status: int) -> None:
    assert refused(raw) == status


def test_a_cached_head_is_found_at_the_start_of_received_bytes() -> None:
    heads = RequestHeadCache()
    assert heads.find(HEAD + b"12345") == (None, len(HEAD))
    known = heads.read(HEAD)
    assert heads.find(HEAD + b"12345" + HEAD) == (known, len(HEAD))
    assert heads.read(HEAD) is known
    for other in (HEAD[:-1], HEAD.replace(b"5", b"6"), b"\r\n" + HEAD):
        assert heads.find(other)[0] is None


def test_long_heads_are_not_cached_and_the_cache_is_bounded() -> None:
    heads = RequestHeadCache()
    heads.read(HEAD.replace(b"Host: x", b"Host: " + b"x" * 3000))
    for number in range(1000):
        heads.read(HEAD.replace(b"/m", b"/%d" % number))
    found = [number for number in range(1000) if heads.find(HEAD.replace(b"/m", b"/%d" % number))[0]]
    assert found == list(range(1000 - 256, 1000))


@given(st.lists(st.sampled_from([HEAD, get(), b"\r\n" + HEAD, get(b"Transfer-Encoding: chunked")]), max_size=5), st.data())
def test_however_heads_are_cut_they_are_the_same(raws: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(raws)
    cuts = sorted({0, len(whole), *data.draw(st.lists(st.integers(0, len(whole)), max_size=10))})
    reader, found = HeadReader(RequestHeadCache()), []
    for start, end in pairwise(cuts):
        rest = whole[start:end]
        while rest:
            head, rest = reader.read(rest)
            found += [head] if head else []
    assert found == [parse_head(raw.lstrip(b"\r\n")) for raw in raws]
    assert not reader.is_within_head


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_parsed_or_refused(line: bytes) -> None:
    try:
        head, _ = HeadReader(RequestHeadCache()).read(line + b"\r\n\r\n")
    except BadRequest:
        return
    assert head is None or isinstance(head, Head)
