"""Header blocks: cached results equal decoded ones."""

from urllib.parse import unquote

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.net.grpc.service import make_head
from hubserve.net.grpc.status import Status, status_block
from hubserve.net.http2.frames import ConnectionFault, ErrorCode
from hubserve.net.http2.hpack_cache import HeaderDecoder, count_fields, keeps_tables, literal, status
from hubserve.net.http2.rate_limit import TokenBucket
from tests.unit.net.http2.raw import fields_of

NAMES = st.sampled_from([b":path", b":method", b"x", b"content-type", b"te", b"grpc-timeout"])
VALUES = st.sampled_from([b"POST", b"GET", b"/", b"/other", b"trailers", b"", b"1S", b"~" * 200, b"\xff\0"])
LISTS = st.lists(st.tuples(NAMES, VALUES, st.booleans()), max_size=8)
STEPS = st.lists(st.one_of(st.tuples(LISTS, st.booleans()), st.sampled_from([0, 40, 100, 1000, 4096])), max_size=40)


@given(STEPS)
def test_a_cached_block_has_the_same_result_whatever_came_between(steps: list[object]) -> None:
    encoder, plain, reader = hpack.Encoder(), hpack.Decoder(), HeaderDecoder(list, 1 << 16)
    for step in steps:
        if isinstance(step, int):
            if encoder.header_table_size != step:  # hpack does not announce a size that is set twice
                encoder.header_table_size = step
            continue
        fields, huffman = step  # type: ignore[misc]
        for _ in range(2):
            block = encoder.encode([hpack.NeverIndexedHeaderTuple(*each[:2]) if each[2] else each[:2] for each in fields], huffman=huffman)
            assert reader.read(block) == [(bytes(name), bytes(value)) for name, value in plain.decode(block, raw=True)]


@given(st.lists(LISTS, min_size=1, max_size=6), st.lists(st.integers(0, 5), max_size=30))
def test_repeated_requests_are_distinguished(lists: list[list[tuple[bytes, bytes, bool]]], order: list[int]) -> None:
    encoder, plain, reader = hpack.Encoder(), hpack.Decoder(), HeaderDecoder(list, 1 << 16)
    for number in order:
        block = encoder.encode([each[:2] for each in lists[number % len(lists)]])
        assert reader.read(block) == [(bytes(name), bytes(value)) for name, value in plain.decode(block, raw=True)]


@given(st.lists(st.binary(max_size=30), max_size=20))
def test_arbitrary_blocks_are_decoded_or_refused(blocks: list[bytes]) -> None:
    plain, reader = hpack.Decoder(), HeaderDecoder(list, 1 << 16)
    for block in blocks:
        try:
            expected = [(bytes(name), bytes(value)) for name, value in plain.decode(block, raw=True)]
        except hpack.HPACKError:
            with pytest.raises(ConnectionFault) as refused:
                reader.read(block)
            assert refused.value.code == ErrorCode.COMPRESSION_ERROR
            return
        assert reader.read(block) == expected


def test_a_block_of_references_is_decoded_once() -> None:
    made: list[object] = []
    encoder, reader = hpack.Encoder(), HeaderDecoder(lambda fields: made.append(fields) or fields, 1 << 16)
    blocks = [encoder.encode([(":method", "POST"), (":path", "/a")]) for _ in range(10)]
    for block in blocks:
        reader.read(block)
    assert len(made) == 2, "the first names the fields, the second refers to them"


def test_a_block_with_fields_that_are_kept_out_of_the_tables_is_decoded_once() -> None:
    made: list[object] = []
    encoder, reader = hpack.Encoder(), HeaderDecoder(lambda fields: made.append(fields) or fields, 1 << 16)
    key = literal(b"authorization", b"Bearer " + b"k" * 200)
    never_indexed = bytes([key[0] | 0x10]) + key[1:]
    first = encoder.encode([(":method", "POST"), (":path", "/a")])
    again = encoder.encode([(":method", "POST"), (":path", "/a")])
    for block in (first, *[again + key] * 10, *[again + never_indexed] * 10, *[again + key] * 10):
        assert reader.read(block)[0] == (b":method", b"POST")
    assert len(made) == 3
    reader.read(encoder.encode([("x", "y")]))
    assert reader.read(again + key)[:2] == [(b":method", b"POST"), (b"x", b"y")], "the same reference is to another field"
    assert len(made) == 5


@given(STEPS)
def test_a_block_is_said_to_keep_the_tables_only_if_it_does(steps: list[object]) -> None:
    encoder, decoder = hpack.Encoder(), hpack.Decoder()
    for step in steps:
        if isinstance(step, int):
            if encoder.header_table_size != step:
                encoder.header_table_size = step
            continue
        fields, huffman = step  # type: ignore[misc]
        block = encoder.encode([hpack.NeverIndexedHeaderTuple(*each[:2]) if each[2] else each[:2] for each in fields], huffman=huffman)
        before = (list(decoder.header_table.dynamic_entries), decoder.header_table_size)
        decoder.decode(block, raw=True)
        if keeps_tables(block):
            assert (list(decoder.header_table.dynamic_entries), decoder.header_table_size) == before


@given(st.binary(max_size=40))
def test_arbitrary_blocks_that_are_said_to_keep_the_tables_do(block: bytes) -> None:
    decoder = hpack.Decoder()
    decoder.decode(hpack.Encoder().encode([("x", "y"), ("a", "b")]))
    before = (list(decoder.header_table.dynamic_entries), decoder.header_table_size)
    try:
        decoder.decode(block, raw=True)
    except hpack.HPACKError:
        return
    if keeps_tables(block):
        assert (list(decoder.header_table.dynamic_entries), decoder.header_table_size) == before


@pytest.mark.parametrize(
    "block",
    [
        b"\x40\x01x\x01y",
        b"\x20",
        b"\x3f\xe1\x1f",
        b"\xff\x00",
        b"\x82\x40\x01x\x01y",
        literal(b"a", b"b" * 20_000),
        literal(b"a", b"") * 33,
        b"\x0f\x80\x00\x01a",
        b"\x00\x05abc",
        b"\x00",
    ],
)
def test_blocks_that_change_tables_or_are_unusual_are_not_cached(block: bytes) -> None:
    assert not keeps_tables(block)
    assert keeps_tables(b"\x82\x84" + literal(b"a", b"b" * 200) + b"\x0f\x01\x01c")


def test_the_number_of_cached_blocks_is_bounded() -> None:
    reader = HeaderDecoder(list, 1 << 16)
    for first in range(0x82, 0x8F):
        for second in range(0x82, 0x8F):
            reader.read(bytes([first, second]))
    assert len(reader._cache) <= 64


def test_fields_over_the_limit_are_refused_however_small_their_block() -> None:
    encoder, reader = hpack.Encoder(), HeaderDecoder(list, 1 << 16)
    reader.read(encoder.encode([("x", "y" * 4000)]))
    with pytest.raises(ConnectionFault) as refused:
        reader.read(b"\xbe" * 20)
    assert refused.value.code == ErrorCode.ENHANCE_YOUR_CALM


#: a field with Huffman-coded name and value: few bytes, slow to decode
COSTLY = b"\0\x81\x1f\x81\x1f"


@pytest.mark.parametrize(
    "block",
    [b"\x82" * 129, COSTLY * 129, b"\x20" * 129 + b"\x82", b"\x40\1a\1b" * 129, b"\0\1x\x7f\x81\x7f" + bytes(16_384)],
    ids=["references", "Huffman", "table sizes", "indexed", "long"],
)
def test_a_block_over_the_limits_is_refused_before_it_is_decoded(block: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = HeaderDecoder(list, 16_384)
    monkeypatch.setattr(reader._decoder, "decode", lambda *_, **__: pytest.fail("it is decoded"))
    with pytest.raises(ConnectionFault, match="128 fields and 16384 bytes") as refused:
        reader.read(block)
    assert refused.value.code == ErrorCode.ENHANCE_YOUR_CALM


@given(st.lists(st.tuples(st.binary(max_size=300), st.binary(max_size=300), st.booleans()), max_size=20), st.booleans(), st.integers(0, 3))
def test_fields_are_counted_without_being_decoded(fields: list[tuple[bytes, bytes, bool]], huffman: bool, updates: int) -> None:
    encoder = hpack.Encoder()
    for _ in range(2):  # the second time, with references
        block = encoder.encode(fields, huffman=huffman)
        assert count_fields(b"\x20" * updates + block, 100) == updates + len(fields)


@given(st.binary(max_size=300))
def test_the_fields_of_arbitrary_blocks_are_counted(block: bytes) -> None:
    assert count_fields(block, 50) <= 51


def read_often(block: bytes, budget: TokenBucket) -> None:
    for _ in range(1000):
        HeaderDecoder(list, 16_384, budget).read(block)


def test_costly_blocks_use_up_a_budget_and_plain_ones_do_not() -> None:
    budget = TokenBucket(0.02, 1e-6)
    plain = hpack.Encoder().encode(fields_of("/test.Echo/Echo"))
    read_often(plain, budget)
    with pytest.raises(ConnectionFault) as refused:
        read_often(COSTLY * 100, budget)
    assert refused.value.code == ErrorCode.ENHANCE_YOUR_CALM
    HeaderDecoder(list, 16_384, budget).read(plain)
    reader = HeaderDecoder(list, 16_384, budget)
    reader._decoder.decode = lambda *_, **__: pytest.fail("it is decoded although nothing is left")  # type: ignore[method-assign]
    with pytest.raises(ConnectionFault):
        reader.read(COSTLY * 100)


def test_the_cache_of_large_header_lists_is_bounded() -> None:
    encoder, reader = hpack.Encoder(), HeaderDecoder(list, 16_384)
    reader.read(encoder.encode([("x", "y" * 3000)]))
    for first in range(0x82, 0x8F):
        for second in range(0x82, 0x8F):
            reader.read(bytes([first, second, 0xBE]))
    assert sum(len(name) + len(value) for fields in reader._cache.values() for name, value in fields) <= 64 << 10


@pytest.mark.parametrize(
    "block", [b"\xff" * 7, b"\x3f\xff\xff\xff\x7f", b"\xff\xff\xff\xff\xff\xff\x0f", b"\0\x7f", b"\0\x82\xff\xff\x81\xff"]
)
def test_the_error_text_of_an_undecodable_block_has_no_memory_address(block: bytes) -> None:
    with pytest.raises(ConnectionFault) as refused:
        HeaderDecoder(list, 16_384).read(block)
    assert str(refused.value) == "a header block cannot be decoded (RFC 7541)"


@given(st.binary(min_size=1, max_size=126), st.one_of(st.binary(max_size=400), st.integers(120, 70_000).map(bytes)))
def test_encoded_fields_can_be_decoded(name: bytes, value: bytes) -> None:
    decoder = hpack.Decoder(max_header_list_size=1 << 20)
    assert decoder.decode(status(200) + status(415) + literal(name, value) + literal(b"z", b""), raw=True) == [
        (b":status", b"200"),
        (b":status", b"415"),
        (name, value),
        (b"z", b""),
    ]
    assert not decoder.header_table.dynamic_entries


@given(st.text())
def test_a_status_message_is_what_http_and_grpc_allow(text: str) -> None:
    fields = dict(hpack.Decoder().decode(status_block(Status.INTERNAL, text), raw=True))
    sent = fields.get(b"grpc-message", b"")
    assert all(0x20 <= each <= 0x7E for each in sent)
    assert sent == sent.strip(), "values must not start or end with a space (RFC 9113, 8.2.1)"
    assert unquote(sent.decode("ascii")) == text.strip(" ").encode("utf-8", "replace").decode()


@pytest.mark.parametrize(
    ("sent", "timeout_s"),
    [
        (b"2H", 7200.0),
        (b"3M", 180.0),
        (b"10S", 10.0),
        (b"1500m", 1.5),
        (b"20u", 2e-5),
        (b"99999999n", 0.099999999),
        (b"0S", 0.0),
        (b"", None),
        (b"123456789S", None),
        (b"5", None),
        (b"5h", None),
        (b"-5S", None),
        (b"1.5S", None),
        (b"5S\n", None),
        ("٣S".encode(), None),
        (b"\xff", None),
    ],
)
def test_a_timeout_has_a_unit(sent: bytes, timeout_s: float | None) -> None:
    found = make_head([(b":method", b"POST"), (b"grpc-timeout", sent)]).timeout_s
    assert found == (timeout_s if timeout_s is None else pytest.approx(timeout_s))


@given(st.lists(st.tuples(st.binary(), st.binary())))
def test_requests_with_arbitrary_fields_are_read(fields: list[tuple[bytes, bytes]]) -> None:
    assert make_head(fields).refusal in (0, 405, 415)
