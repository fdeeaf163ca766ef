from hubserve.wire.arena import ARENA_BYTES, HALF_BYTES, MIN_BUFFER_BYTES, REQUESTS_BYTES, Arena, Halves


def place(halves: Halves, content: bytes) -> int | None:
    return halves.place([memoryview(content)], len(content))


def test_answers_take_turns_and_never_touch_the_requests_or_the_answer_before() -> None:
    arena = Arena.create()
    halves = Halves(arena)
    spans = []
    for turn in range(4):
        halves.turn()
        content = bytes([turn + 1]) * MIN_BUFFER_BYTES
        offset, second = place(halves, content), place(halves, content)
        assert offset is not None
        assert second is not None
        assert offset + len(content) <= second
        assert bytes(arena.view[offset : offset + len(content)]) == content
        spans.append((offset, second + len(content)))
    assert spans[0] == spans[2] != spans[1] == spans[3]
    first, second_span = sorted(spans[:2])
    assert REQUESTS_BYTES <= first[0] < first[1] <= second_span[0] < second_span[1] <= ARENA_BYTES


def test_small_answers_and_those_without_room_travel_through_the_socket() -> None:
    halves = Halves(Arena.create())
    halves.turn()
    assert place(halves, bytes(MIN_BUFFER_BYTES - 1)) is None
    assert place(halves, bytes(HALF_BYTES + 1)) is None
    assert place(halves, bytes(HALF_BYTES)) is not None
    assert place(halves, bytes(MIN_BUFFER_BYTES)) is None
