"""Length-prefixed messages are the same however their bytes are cut."""

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.net.grpc.framing import MessageReader
from hubserve.net.grpc.status import RpcError, Status
from tests.unit.net.http2.raw import prefixed
from tests.unit.net.http2.server import CountedBudget, Full, pattern

LIMIT = 200_000
FREE = 64 << 10
SIZES = st.one_of(st.integers(0, 20), st.sampled_from([(64 << 10) - 1, 64 << 10, (64 << 10) + 1, 150_000, LIMIT]))
CUTS = st.lists(st.one_of(st.integers(1, 12), st.integers(1, 100_000)), max_size=40)


class Feeder:
    """Feeds a reader as a connection does: in parts, or into its buffer."""

    def __init__(self, reader: MessageReader) -> None:
        self._reader = reader

    def give(self, part: bytes, direct: bool) -> None:
        while part:
            buffer = self._reader.receive_buffer() if direct else None
            if buffer is None:
                self._reader.feed(part)
                return
            count = min(len(buffer), len(part))
            buffer[:count] = part[:count]
            self._reader.buffer_filled(count)
            part = part[count:]


@given(st.lists(st.tuples(SIZES, st.booleans()), max_size=12), CUTS, st.integers(1, 5), st.lists(st.booleans(), min_size=1), st.data())
def test_messages_are_the_same_however_their_bytes_are_cut(
    shapes: list[tuple[int, bool]], cuts: list[int], most: int, direct: list[bool], data: st.DataObject
) -> None:
    sent = [(pattern(size), packed) for size, packed in shapes]
    stream = b"".join(struct.pack(">BI", packed, len(message)) + message for message, packed in sent)
    budget = CountedBudget()
    reader = MessageReader(LIMIT, most, budget)
    feeder, received = Feeder(reader), []
    for turn, size in enumerate([*cuts, len(stream)]):
        feeder.give(stream[:size], direct[turn % len(direct)])
        stream = stream[size:]
        assert len(reader.complete) <= most
        while reader.complete and (not stream or data.draw(st.booleans())):
            received.append(reader.next())
    assert [(bytes(message), packed) for message, packed in received] == sent
    assert reader.is_between
    assert budget.held == 0
    reader.close()
    assert budget.held == 0


@given(st.lists(SIZES, min_size=1, max_size=6), st.integers(0, 400_000), st.integers(1, 4), st.integers(0, 3))
def test_a_reader_that_is_closed_at_any_moment_holds_nothing(sizes: list[int], until: int, most: int, read: int) -> None:
    budget = CountedBudget()
    reader = MessageReader(LIMIT, most, budget)
    reader.feed(b"".join(prefixed(pattern(size)) for size in sizes)[:until])
    for _ in range(min(read, len(reader.complete))):
        reader.next()
    reader.close()
    assert budget.held == 0
    assert reader.is_between
    assert reader.receive_buffer() is None


@given(st.binary(max_size=60), st.integers(1, 3))
def test_arbitrary_bytes_are_messages_or_refused(data: bytes, most: int) -> None:
    budget = CountedBudget()
    reader = MessageReader(1000, most, budget)
    with contextlib.suppress(RpcError):
        reader.feed(data)
        while reader.complete:
            reader.next()
    reader.close()
    assert budget.held == 0


@pytest.mark.parametrize("first", [b"", prefixed(b"before")])
@pytest.mark.parametrize("cut", [0, 1, 4])
def test_too_long_or_malformed_messages_are_refused_wherever_they_are_cut(first: bytes, cut: int) -> None:
    for bad, status in ((struct.pack(">BI", 0, LIMIT + 1), Status.RESOURCE_EXHAUSTED), (b"\2\0\0\0\0", Status.INTERNAL)):
        reader = MessageReader(LIMIT, 8, CountedBudget())
        reader.feed(first + bad[:cut])
        with pytest.raises(RpcError) as refused:
            reader.feed(bad[cut:] + bytes(10))
        assert refused.value.status == status


def test_a_malformed_message_in_the_backlog_is_refused_in_its_turn() -> None:
    reader = MessageReader(LIMIT, 1, CountedBudget(100_000))
    reader.feed(prefixed(b"a") + prefixed(b"b") + struct.pack(">BI", 0, 150_000))
    assert reader.next() == (b"a", False)
    with pytest.raises(Full):
        reader.next()


def test_the_budget_is_held_from_arrival_until_messages_are_read() -> None:
    budget = CountedBudget()
    reader = MessageReader(LIMIT, 2, budget)
    first = prefixed(pattern(100_000))
    reader.feed(first[:6])
    assert budget.held == 0, "an announcement holds nothing"
    reader.feed(first[6 : 70_000 + 5])
    assert budget.held == 70_000 - FREE
    rest = prefixed(pattern(70_000)) + prefixed(pattern(80_000))
    reader.feed(first[70_000 + 5 :] + rest)
    assert budget.held == 170_000 + 80_005 - FREE, "the third counts, too, although it is not begun"
    assert not reader.is_between
    reader.next()
    assert budget.held == 150_000 - FREE
    reader.next()
    assert budget.held == 80_000 - FREE
    reader.next()
    assert budget.held == 0


def test_unread_small_messages_count_like_large_ones() -> None:
    budget = CountedBudget()
    reader = MessageReader(LIMIT, 4, budget)
    for _ in range(100):
        reader.feed(prefixed(bytes(10_000)))
    assert budget.held == 4 * 10_000 + 96 * 10_005 - FREE
    while reader.complete:
        reader.next()
    assert budget.held == 0


@pytest.mark.parametrize("received", [0, 1, 5_000, 100_000])
def test_the_buffer_of_a_message_grows_with_the_bytes_received(received: int) -> None:
    reader = MessageReader(64 << 20, 1, CountedBudget())
    reader.feed(struct.pack(">BI", 0, 64 << 20) + bytes(received))
    assert reader._message is not None
    assert len(reader._message) <= max(FREE, 16 * received)


def test_a_message_that_cannot_fit_now_is_refused_by_its_prefix_unless_it_is_small() -> None:
    reader = MessageReader(LIMIT, 1, CountedBudget(0))
    reader.feed(prefixed(bytes(FREE)))
    assert len(reader.next()[0]) == FREE
    with pytest.raises(Full):
        reader.feed(prefixed(bytes(FREE + 1))[:5])
