import pytest

from hubserve.server.heads import Head, Heads, make_head

HEAD = b"POST /predict/m?x=%20 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
HEADERS = [(b"host", b"x"), (b"content-length", b"5")]


def head(headers: list[tuple[bytes, bytes]] = HEADERS, method: str = "POST", version: str = "1.1", keep_alive: bool = True) -> Head:
    return make_head(method, version, b"/predict/m?x=%20", headers, keep_alive)


def test_a_head_that_came_before_is_found_at_the_front_of_what_comes() -> None:
    heads, known = Heads(), head()
    assert heads.find(HEAD + b"12345") == (None, len(HEAD))
    heads.remember(HEAD, known)
    assert heads.find(HEAD + b"12345" + HEAD) == (known, len(HEAD))
    assert heads.find(HEAD[:-1]) == (None, 0)
    assert heads.find(HEAD.replace(b"5", b"6")) == (None, len(HEAD))
    assert heads.find(b"\r\n" + HEAD) == (None, len(HEAD) + 2)


def test_a_head_has_what_the_protocols_ask_for() -> None:
    made = head([(b"host", b"x"), (b"host", b"y"), (b"content-length", b"5"), (b"expect", b"100-Continue")])
    assert (made.scope["path"], made.scope["query_string"], made.scope["method"]) == ("/predict/m", b"x=%20", "POST")
    assert made.scope["hubserve.headers"][b"host"] == b"x"
    assert (made.announced_bytes, made.expects_continue, made.keep_alive) == (5, True, True)
    assert not head(version="1.0").keep_alive


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"\r\n" + HEAD, id="an empty line in front, which may be all that the parser took"),
        pytest.param(HEAD.replace(b"\r\nHost", b"\nHost"), id="a line that ends otherwise"),
        pytest.param(HEAD.replace(b"Host: x", b"Host: \rx"), id="half a line's end"),
        pytest.param(HEAD.replace(b"Host: x", b"Host: " + b"x" * 3000), id="long"),
    ],
)
def test_what_may_not_be_all_of_a_head_is_not_remembered(raw: bytes) -> None:
    heads = Heads()
    heads.remember(raw, head())
    assert heads.find(raw) == (None, raw.find(b"\r\n\r\n") + 4)


@pytest.mark.parametrize(
    "unusual",
    [
        head(keep_alive=False),
        head(version="1.0"),
        head(method="CONNECT"),
        head([(b"transfer-encoding", b"chunked")]),
        head([(b"upgrade", b"h2c")]),
        head([*HEADERS, (b"expect", b"100-continue")]),
        head([(b"content-length", b"+5")]),
    ],
)
def test_a_head_after_which_more_is_to_be_decided_is_not_remembered(unusual: Head) -> None:
    heads = Heads()
    heads.remember(HEAD, unusual)
    assert heads.find(HEAD)[0] is None


def test_no_number_of_heads_fills_the_memory() -> None:
    heads = Heads()
    for number in range(1000):
        heads.remember(HEAD.replace(b"/m", b"/%d" % number), head())
    found = [number for number in range(1000) if heads.find(HEAD.replace(b"/m", b"/%d" % number))[0]]
    assert found == list(range(1000 - 256, 1000))
