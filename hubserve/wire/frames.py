"""Encode and decode the frames that the gateway and its instances exchange over a stream socket.

A frame is a fixed head, a JSON header, and a payload of concatenated raw buffers::

    magic "HUB1" | uint32 header_bytes | uint64 payload_bytes | header (JSON, UTF-8) | payload

All numbers are little-endian. The header's ``buffers`` lists the length of each buffer in the payload, or ``[offset, length]`` for a
buffer in the shared arena (:mod:`hubserve.wire.arena`); the rest of the header refers to a buffer by its index. Every frame has an
``op``:

===========  ================  ======================================================================================
op           direction         content
===========  ================  ======================================================================================
``load``     to the instance   ``kind``, ``folder``, ``import_name``, ``init_args``, ``defaults``, ``max_batch_size``, ``measure``,
                               ``decode_ahead``, ``extra_inputs``, ``warm_up``, ``nan``, ``compute_timeout_s``, ``shown_as``: the instance,
                               in a log
``loaded``   to the gateway    ``description``, ``times``: items and seconds of the calls of the warm-up
``infer``    to the instance   ``calls``, each with an ``interface``, or ``merged`` (see :mod:`hubserve.instance.frame_calls`);
                               ``call_sizes``, ``once``: a call that fails is not computed again; ``requests``: for whom (see
                               :mod:`hubserve.wire.current_requests`); ``mark_output``: mark the output of native code
``results``  to the gateway    ``results``, one per call, in order; ``times``, ``took_s``, ``calls_s``, ``prepare_s``,
                               ``out_of_memory``
``ping``     to the instance
``pong``     to the gateway
``failed``   to the gateway    ``error``: loading failed; the instance exits
===========  ================  ======================================================================================
"""

import json
import socket
import struct
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from hubserve.errors import HubError, InvalidInput
from hubserve.types import MAX_RANK, array_from_bytes, packed, parse_shape
from hubserve.wire.arena import Arena

HEAD = struct.Struct("<4sIQ")
_MAGIC = b"HUB1"
_MAX_HEADER_BYTES = 64 << 20
_MAX_PAYLOAD_BYTES = 64 << 30
#: copies a buffer's parts and their total size into the arena; returns its offset there, or None if it must travel in the payload
StoreBuffer = Callable[[List[memoryview], int], Optional[int]]
#: smaller payloads are appended to the header, so that one write sends the frame
_JOINED_BYTES = 8 << 10
_READ_BYTES = 64 << 10
#: characters of a header that error messages quote
_MAX_QUOTED = 100
#: sendmsg takes at most IOV_MAX (1024) pieces
_MAX_PIECES = 512


class WireError(HubError):
    """The peer sent bytes that are not a valid frame."""

    code = "wire_error"


class Frame(NamedTuple):
    """One received frame.

    Attributes:
        header: the JSON header.
        buffers: views, not copies, of the payload or the arena.
    """

    header: Dict[str, Any]
    buffers: List[memoryview]


def _bytes_of(buffer: Any) -> memoryview:
    view = memoryview(buffer)
    return view.cast("B") if view.nbytes else memoryview(b"")


_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def dump_header(header: Dict[str, Any]) -> bytes:
    """Encode a header as JSON with the standard library."""
    return _encoder.encode(header).encode("utf-8", "surrogatepass")


def load_header(text: memoryview) -> Any:
    """Parse a header with the standard library.

    Raises:
        ValueError: the text is not JSON, or nested too deeply.
    """
    try:
        return json.loads(bytes(text))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def encode(
    header: Dict[str, Any], buffers: Sequence[Any] = (), store: Optional[StoreBuffer] = None, dumps: Callable[[Any], bytes] = dump_header
) -> List[Any]:
    """Return a frame as pieces to write in order; large buffers are not copied.

    Args:
        header: JSON values; ``buffers`` is added.
        buffers: contiguous bytes-like objects; a list of them becomes one buffer.
        store: puts large buffers into the arena; None if there is no arena.
        dumps: writes JSON; a faster one where available.
    """
    locations: List[Any] = []
    sent: List[memoryview] = []
    for buffer in buffers:
        views = [_bytes_of(each) for each in (buffer if isinstance(buffer, list) else [buffer])]
        size = sum(map(len, views))
        offset = store(views, size) if store else None
        if offset is None:
            locations.append(size)
            sent.extend(views)
        else:
            locations.append([offset, size])
    text = dumps({**header, "buffers": locations})
    payload_bytes = sum(map(len, sent))
    start = HEAD.pack(_MAGIC, len(text), payload_bytes) + text
    return [start + b"".join(sent)] if payload_bytes < _JOINED_BYTES else [start, *sent]


def decode_head(head: Any) -> Tuple[int, int]:
    """Check a fixed head and return the lengths of the header and the payload in bytes.

    Raises:
        WireError: the magic number is wrong, or a length is over its limit.
    """
    magic, header_bytes, payload_bytes = HEAD.unpack(head)
    if magic != _MAGIC or header_bytes > _MAX_HEADER_BYTES or payload_bytes > _MAX_PAYLOAD_BYTES:
        raise WireError("malformed frame: the peer does not speak hubserve's wire format; restart it")
    return header_bytes, payload_bytes


def decode_header(
    text: memoryview, payload_bytes: int, arena: Optional[Arena] = None, loads: Callable[[Any], Any] = load_header
) -> Dict[str, Any]:
    """Parse a frame's header and check the locations of its buffers.

    Args:
        text: the header.
        payload_bytes: the payload's length.
        arena: the memory that buffers may lie in; None if every buffer is in the payload.
        loads: reads JSON; a faster one where available.
    Raises:
        WireError: the header is not a JSON object, or its buffers do not add up to the payload or lie outside the arena.
    """
    try:
        header = loads(text)
        locations = header["buffers"]
        if not isinstance(locations, list):
            raise TypeError("buffers is not a list")
        sent_bytes = 0
        for location in locations:
            if type(location) is int and location >= 0:
                sent_bytes += location
            else:
                _check_location(location, arena)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WireError(f"malformed frame: invalid header: {str(error)[:_MAX_QUOTED]}") from None
    if sent_bytes != payload_bytes:
        raise WireError(f"malformed frame: its buffers take {sent_bytes} bytes, its payload has {payload_bytes}")
    return header  # type: ignore[no-any-return]  # a dict: it has "buffers"


def _check_location(location: Any, arena: Optional[Arena]) -> None:
    offset, length = location
    if type(offset) is not int or type(length) is not int or offset < 0 or length < 0:
        raise WireError(f"malformed frame: invalid buffer location {str(location)[:_MAX_QUOTED]}")
    if arena is None or offset + length > len(arena.view):
        raise WireError("malformed frame: a buffer lies outside the shared memory")


def split_payload(header: Dict[str, Any], payload: memoryview, arena: Optional[Arena] = None) -> Frame:
    """Split a payload into the buffers of a header that :func:`decode_header` has checked."""
    buffers, start = [], 0
    for location in header["buffers"]:
        if isinstance(location, int):
            buffers.append(payload[start : start + location])
            start += location
        else:
            assert arena is not None, "decode_header checked it"
            buffers.append(arena.view[location[0] : location[0] + location[1]])
    return Frame(header, buffers)


def decode_body(body: memoryview, header_bytes: int, arena: Optional[Arena] = None, loads: Callable[[Any], Any] = load_header) -> Frame:
    """Decode a frame's header and payload.

    Args:
        body: header and payload.
        header_bytes: the header's length.
        arena: as for :func:`decode_header`.
        loads: as for :func:`decode_header`.
    Raises:
        WireError: see :func:`decode_header`.
    """
    header = decode_header(body[:header_bytes], len(body) - header_bytes, arena, loads)
    return split_payload(header, body[header_bytes:], arena)


def send(sock: socket.socket, header: Dict[str, Any], buffers: Sequence[Any] = (), store: Optional[StoreBuffer] = None) -> None:
    """Write one frame, blocking; arguments as for :func:`encode`."""
    pieces = [memoryview(each) for each in encode(header, buffers, store) if len(each)]
    while pieces:
        sent = sock.sendmsg(pieces[:_MAX_PIECES])
        while pieces and sent >= len(pieces[0]):
            sent -= len(pieces.pop(0))
        if sent:
            pieces[0] = pieces[0][sent:]


def receive(sock: socket.socket, arena: Optional[Arena] = None) -> Frame:
    """Read one frame, blocking; arguments and errors as for :class:`Receiver`, which also keeps bytes read beyond the frame."""
    return Receiver(sock, arena).receive()


class Receiver:
    """Frames from a blocking socket; a small frame takes one read.

    Args:
        sock: connected to the peer.
        arena: the memory shared with the peer.
    """

    def __init__(self, sock: socket.socket, arena: Optional[Arena] = None) -> None:
        self._sock = sock
        self._arena = arena
        self._unread = b""

    def receive(self) -> Frame:
        """Return the next frame.

        Raises:
            EOFError: the peer closed the socket.
            WireError: see :func:`decode_head` and :func:`decode_header`.
        """
        start = self._unread or self._sock.recv(_READ_BYTES)
        while len(start) < HEAD.size:
            more = self._sock.recv(_READ_BYTES) if start else b""
            if not more:
                raise EOFError("the peer closed the socket")
            start += more
        header_bytes, payload_bytes = decode_head(start[: HEAD.size])
        size = HEAD.size + header_bytes + payload_bytes
        self._unread = start[size:]
        if len(start) >= size:
            return decode_body(memoryview(start)[HEAD.size : size], header_bytes, self._arena)
        return decode_body(_receive_rest(self._sock, start, size)[HEAD.size :], header_bytes, self._arena)


def _receive_rest(sock: socket.socket, start: bytes, size: int) -> memoryview:
    view = np.empty(size, np.uint8).data  # unlike a bytearray, not zeroed first
    view[: len(start)] = start
    filled = len(start)
    while filled < size:
        count = sock.recv_into(view[filled:])
        if not count:
            raise EOFError("the peer closed the socket")
        filled += count
    return view


def pack_arrays(arrays: Dict[str, np.ndarray], buffers: List[Any]) -> List[Dict[str, Any]]:
    """Describe named arrays for a header, and append their bytes to ``buffers`` in the form of :func:`hubserve.types.packed`.

    Raises:
        InvalidInput: the peer would refuse an array of this name, dtype or shape.
    """
    described = []
    for name, array in arrays.items():
        if not isinstance(name, str):
            raise InvalidInput(f"the name of an array must be text, got {type(name).__name__}")
        dtype, data = packed(array)
        if not array.size or array.ndim > MAX_RANK:
            parse_shape(array.shape)
        described.append({"name": name, "dtype": dtype, "shape": list(array.shape), "buffer": len(buffers)})
        buffers.append(data)
    return described


def unpack_arrays(described: Iterable[Dict[str, Any]], buffers: Sequence[memoryview]) -> Dict[str, np.ndarray]:
    """Reverse :func:`pack_arrays`; the arrays are views into the frame."""
    return {each["name"]: array_from_bytes(buffers[each["buffer"]], each["dtype"], each["shape"]) for each in described}
