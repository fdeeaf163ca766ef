"""Frames are the same however their bytes are cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.net.http2.frame_parser import FrameParser, OldHttp
from hubserve.net.http2.frames import ConnectionFault
from tests.unit.net.http2.raw import DATA, PADDED, PING, PREFACE, SETTINGS, frame


class Recorder:
    """Handler and consumer that record what the parser passes on."""

    def __init__(self) -> None:
        self.closed = False
        self.found: list[object] = []
        self._left = 0

    @property
    def in_frame(self) -> bool:
        return self._left > 0

    def consume(self, data: bytes, at: int) -> int:
        count = min(self._left, len(data) - at)
        self._left -= count
        self.found += data[at : at + count]
        return at + count

    def handle_preface(self) -> None:
        self.found.append("preface")

    def handle_data(self, number: int, flags: int, length: int, padding: int | None) -> None:
        self.found.append((DATA, flags, number, length, padding))
        self._left = length if padding is None else length - 1

    def handle_frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        self.found.append((kind, flags, number, payload))


FRAMES = (frame(SETTINGS), frame(PING, payload=b"12345678"), frame(DATA, 0, 1, b"body"), frame(DATA, PADDED, 1, b"\2body\0\0"), frame(99))


@given(st.lists(st.sampled_from(FRAMES), max_size=6), st.data())
def test_frames_are_the_same_however_they_are_cut(parts: list[bytes], data: st.DataObject) -> None:
    sent = b"".join((PREFACE, frame(SETTINGS), *parts))
    whole, pieces = Recorder(), Recorder()
    FrameParser(whole, whole).parse(sent)
    parser = FrameParser(pieces, pieces)
    cuts = sorted({0, len(sent), *data.draw(st.lists(st.integers(0, len(sent)), max_size=10))})
    for start, end in pairwise(cuts):
        parser.parse(sent[start:end])
    assert pieces.found == whole.found
    assert not parser.is_within_frame
    assert len([each for each in whole.found if isinstance(each, tuple)]) == len(parts) + 1


def test_nothing_is_parsed_after_the_handler_closed() -> None:
    recorder = Recorder()
    parser = FrameParser(recorder, recorder)
    parser.parse(PREFACE + frame(SETTINGS))
    recorder.closed = True
    parser.parse(frame(PING, payload=bytes(8)))
    assert recorder.found == ["preface", (SETTINGS, 0, 0, b"")]
    assert not parser.is_within_frame


@pytest.mark.parametrize(("first", "error"), [(b"GET / HTTP/1.1\r\n", OldHttp), (b"\x16\x03\x01", ConnectionFault)])
def test_other_protocols_are_recognized(first: bytes, error: type[Exception]) -> None:
    recorder = Recorder()
    with pytest.raises(error):
        FrameParser(recorder, recorder).parse(first)
    assert recorder.found == []
