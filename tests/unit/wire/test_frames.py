import socket
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.gateway.instances.frame_reader import _loads as loads
from hubserve.wire import frames


@given(
    st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.booleans())).filter(lambda header: "buffers" not in header),
    st.lists(st.binary(max_size=3000), max_size=8),
)
def test_a_frame_survives_a_round_trip(header: dict[str, object], buffers: list[bytes]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        frames.send(ours, header, buffers)
        frame = frames.receive(theirs)
    assert {key: value for key, value in frame.header.items() if key != "buffers"} == header
    assert [bytes(each) for each in frame.buffers] == buffers


def test_more_and_larger_buffers_than_one_system_call_takes_arrive_complete() -> None:
    arrays = {str(index): np.full((50, 37), index, np.float32) for index in range(1500)}
    ours, theirs = socket.socketpair()
    with ours, theirs:
        buffers: list[object] = []
        described = frames.pack_arrays(arrays, buffers)
        sender = threading.Thread(target=frames.send, args=(ours, {"inputs": described}, buffers))
        sender.start()
        frame = frames.receive(theirs)
        sender.join()
    again = frames.unpack_arrays(frame.header["inputs"], frame.buffers)
    assert again.keys() == arrays.keys()
    assert all(np.array_equal(again[name], arrays[name]) for name in arrays)


def test_arrays_of_any_memory_order_are_sent_in_c_order() -> None:
    array = np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1)
    buffers: list[object] = []
    described = frames.pack_arrays({"x": array}, buffers)
    again = frames.unpack_arrays(described, [memoryview(each).cast("B") for each in buffers])
    np.testing.assert_array_equal(again["x"], array)


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n....", b"\0" * 64, b"HUB1" + b"\xff" * 60])
def test_garbage_is_refused_without_allocating_memory_for_it(garbage: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(garbage)
        with pytest.raises(frames.WireError, match="does not speak"):
            frames.receive(theirs)


@pytest.mark.parametrize("header", [b"{", b"[]", b'{"buffers": [1]}', b'{"buffers": 3}', b"{}", b"[" * 100_000])
def test_a_malformed_header_is_refused(header: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(frames.HEAD.pack(b"HUB1", len(header), 0) + header)
        with pytest.raises(frames.WireError, match="malformed frame"):
            frames.receive(theirs)


@pytest.mark.parametrize("levels", [1000, 1024, 100_000])
def test_the_gateway_refuses_a_deeply_nested_header_too(levels: int) -> None:
    header = b'{"op":"results","deep":' + b"[" * levels + b"]" * levels + b'}"'
    with pytest.raises(frames.WireError, match="invalid header"):
        frames.decode_body(memoryview(header), len(header), None, loads)


def test_a_closed_socket_is_an_end_of_file() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        ours.sendall(b"HUB1")
        ours.close()
        with pytest.raises(EOFError):
            frames.receive(theirs)
