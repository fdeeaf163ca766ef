import os
import socket
from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.wire import frames
from hubserve.wire.arena import Arena, RingAllocator

SIZE_BYTES = 4096


@given(st.lists(st.one_of(st.integers(1, SIZE_BYTES + 10), st.none()), max_size=60))
def test_blocks_never_overlap_and_an_empty_ring_takes_whatever_fits(steps: list[int | None]) -> None:
    ring = RingAllocator(SIZE_BYTES)
    allocated: deque[tuple[int, int]] = deque()
    for count in steps:
        if count is None:
            if allocated:
                allocated.popleft()
                ring.free(1)
            continue
        start = ring.allocate(count)
        if start is None:
            assert allocated or count > SIZE_BYTES, "an empty ring has room for anything that fits"
            continue
        assert 0 <= start <= start + count <= SIZE_BYTES
        assert all(start + count <= other or start >= other + length for other, length in allocated)
        allocated.append((start, count))


def test_a_large_buffer_arrives_through_the_arena_and_not_through_the_socket() -> None:
    arena = Arena.create(1 << 20)
    array = np.arange(10_000, dtype=np.float32)

    def store(parts: list[memoryview], size: int) -> int | None:
        if size < 100:
            return None
        arena.write(parts, 64)
        return 64

    pieces = frames.encode({"op": "infer"}, [b"small", [array[:3000], array[3000:]]], store)
    assert sum(len(piece) for piece in pieces) < 200
    ours, peer = socket.socketpair()
    with ours, peer:
        for piece in pieces:
            ours.sendall(piece)
        frame = frames.receive(peer, Arena(arena.fd))
    assert bytes(frame.buffers[0]) == b"small"
    np.testing.assert_array_equal(np.frombuffer(frame.buffers[1], np.float32), array)
    os.close(arena.fd)


BAD_LOCATIONS = [b'{"buffers": [[0, 5000]]}', b'{"buffers": [[5000, 1]]}', b'{"buffers": [[0]]}', b'{"buffers": [[0, -1]]}']


@pytest.mark.parametrize("header", BAD_LOCATIONS)
def test_locations_outside_the_arena_are_refused(header: bytes) -> None:
    arena = Arena.create(SIZE_BYTES)
    with pytest.raises(frames.WireError):
        frames.decode_body(memoryview(header), len(header), arena)
    os.close(arena.fd)
    arena.close()
