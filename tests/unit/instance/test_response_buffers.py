from hubserve.wire.arena import ARENA_BYTES, MIN_BUFFER_BYTES, REQUESTS_BYTES, RESPONSE_BUFFER_BYTES, Arena, ResponseBuffers


def store(buffers: ResponseBuffers, content: bytes) -> int | None:
    return buffers.store([memoryview(content)], len(content))


def test_responses_alternate_and_never_touch_requests_or_the_response_before() -> None:
    arena = Arena.create()
    buffers = ResponseBuffers(arena)
    spans = []
    for turn in range(4):
        buffers.begin_response()
        content = bytes([turn + 1]) * MIN_BUFFER_BYTES
        offset, second = store(buffers, content), store(buffers, content)
        assert offset is not None
        assert second is not None
        assert offset + len(content) <= second
        assert bytes(arena.view[offset : offset + len(content)]) == content
        spans.append((offset, second + len(content)))
    assert spans[0] == spans[2] != spans[1] == spans[3]
    first, second_span = sorted(spans[:2])
    assert REQUESTS_BYTES <= first[0] < first[1] <= second_span[0] < second_span[1] <= ARENA_BYTES


def test_small_responses_and_those_without_room_travel_through_the_socket() -> None:
    buffers = ResponseBuffers(Arena.create())
    buffers.begin_response()
    assert store(buffers, bytes(MIN_BUFFER_BYTES - 1)) is None
    assert store(buffers, bytes(RESPONSE_BUFFER_BYTES + 1)) is None
    assert store(buffers, bytes(RESPONSE_BUFFER_BYTES)) is not None
    assert store(buffers, bytes(MIN_BUFFER_BYTES)) is None
