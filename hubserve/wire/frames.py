"""The frames that the gateway and its instances exchange over a stream socket.

One frame is a fixed head, a JSON header, and a payload of raw buffers one behind the other::

    magic "HUB1" | uint32 header_bytes | uint64 payload_bytes | header (JSON, UTF-8) | payload

All numbers are little-endian. The header's ``buffers`` lists the buffers' lengths, or ``[offset, length]`` for those that lie in the
arena that both sides share (see :mod:`hubserve.wire.arena`); the rest of the header refers to a buffer by its index. Every frame
has an ``op``:

===========  ================  ======================================================================================
op           direction         content
===========  ================  ======================================================================================
``load``     to the instance   ``kind``, ``folder``, ``import_name``, ``init_args``, ``defaults``, ``max_batch_size``, ``measure``,
                               ``decode_ahead``, ``extra_inputs``, ``warm_up``, ``nan``
``loaded``   to the gateway    ``description``, ``times``: items and seconds of calls that were made to warm up
``infer``    to the instance   ``calls``, each with a ``face``, or ``merged`` (see :mod:`hubserve.instance.execute`); ``call_sizes``,
                               ``once``: what fails is not computed again
``results``  to the gateway    ``results``, one for each call, in order; ``times``, ``took_s``,
                               ``calls_s``, ``prepare_s``, ``out_of_memory``
``ping``     to the instance
``pong``     to the gateway
``failed``   to the gateway    ``error``: loading failed, the instance ends
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
Place = Callable[[List[memoryview], int], Optional[int]]
#: small buffers are copied to the header, so that one write sends all
_JOINED_BYTES = 8 << 10
_AHEAD_BYTES = 64 << 10
#: of what came, in messages
_SHOWN = 100
#: sendmsg takes at most IOV_MAX (1024) pieces
_MAX_PIECES = 512


class WireError(HubError):
    """What came over the socket is no frame."""

    code = "wire_error"


class Frame(NamedTuple):
    """One received frame.

    Attributes:
        header: the JSON header.
        buffers: the payload, cut as the header says; views, not copies.
    """

    header: Dict[str, Any]
    buffers: List[memoryview]


def _bytes_of(buffer: Any) -> memoryview:
    view = memoryview(buffer)
    return view.cast("B") if view.nbytes else memoryview(b"")


_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


def dump_header(header: Dict[str, Any]) -> bytes:
    """A header as JSON, by the standard library."""
    return _encoder.encode(header).encode("utf-8", "surrogatepass")


def load_header(text: memoryview) -> Any:
    """Parse what :func:`dump_header` wrote.

    Raises:
        ValueError: it is not JSON, or nested too deep.
    """
    try:
        return json.loads(bytes(text))
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def encode(
    header: Dict[str, Any], buffers: Sequence[Any] = (), place: Optional[Place] = None, dumps: Callable[[Any], bytes] = dump_header
) -> List[Any]:
    """A frame as pieces to be written in order; large buffers are not copied.

    Args:
        header: JSON values; ``buffers`` is added.
        buffers: contiguous bytes-like objects; a list of them becomes one buffer.
        place: copies a buffer's parts, of so many bytes in all, into the arena and returns its offset there; or None for one that is
            to be sent.
        dumps: writes JSON; a quicker one where there is one.
    """
    places: List[Any] = []
    sent: List[memoryview] = []
    for buffer in buffers:
        views = [_bytes_of(each) for each in (buffer if isinstance(buffer, list) else [buffer])]
        size = sum(map(len, views))
        offset = place(views, size) if place else None
        if offset is None:
            places.append(size)
            sent.extend(views)
        else:
            places.append([offset, size])
    text = dumps({**header, "buffers": places})
    payload_bytes = sum(map(len, sent))
    start = HEAD.pack(_MAGIC, len(text), payload_bytes) + text
    return [start + b"".join(sent)] if payload_bytes < _JOINED_BYTES else [start, *sent]


def decode_head(head: Any) -> Tuple[int, int]:
    """Check a fixed head.

    Returns:
        The header's and the payload's length in bytes.
    Raises:
        WireError: it is none, or the lengths are absurd.
    """
    magic, header_bytes, payload_bytes = HEAD.unpack(head)
    if magic != _MAGIC or header_bytes > _MAX_HEADER_BYTES or payload_bytes > _MAX_PAYLOAD_BYTES:
        raise WireError("the peer does not speak hubserve's wire format; end it and start it again")
    return header_bytes, payload_bytes


def decode_header(
    text: memoryview, payload_bytes: int, arena: Optional[Arena] = None, loads: Callable[[Any], Any] = load_header
) -> Dict[str, Any]:
    """Read a frame's header and check where its buffers are said to lie.

    Args:
        text: the header.
        payload_bytes: the payload's length.
        arena: where buffers may lie that were not sent.
        loads: reads JSON; a quicker one where there is one.
    Raises:
        WireError: it is not a JSON object, or its buffers do not make up the payload or lie outside the arena.
    """
    try:
        header = loads(text)
        places = header["buffers"]
        if not isinstance(places, list):
            raise TypeError("its buffers are no list")
        sent_bytes = 0
        for place in places:
            if type(place) is int and place >= 0:
                sent_bytes += place
            else:
                _check_place(place, arena)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WireError(f"a frame's header is broken: {str(error)[:_SHOWN]}") from None
    if sent_bytes != payload_bytes:
        raise WireError(f"a frame's buffers take {sent_bytes} bytes, its payload has {payload_bytes}")
    return header  # type: ignore[no-any-return]  # it has "buffers"


def _check_place(place: Any, arena: Optional[Arena]) -> None:
    offset, length = place
    if type(offset) is not int or type(length) is not int or offset < 0 or length < 0:
        raise WireError(f"a frame's header names the place {str(place)[:_SHOWN]}, which is none")
    if arena is None or offset + length > len(arena.view):
        raise WireError("a frame's header names a place outside the shared memory")


def cut(header: Dict[str, Any], payload: memoryview, arena: Optional[Arena] = None) -> Frame:
    """Cut a payload into buffers, as a header says that :func:`decode_header` has checked."""
    buffers, start = [], 0
    for place in header["buffers"]:
        if isinstance(place, int):
            buffers.append(payload[start : start + place])
            start += place
        else:
            assert arena is not None, "the header was checked"
            buffers.append(arena.view[place[0] : place[0] + place[1]])
    return Frame(header, buffers)


def decode_body(body: memoryview, header_bytes: int, arena: Optional[Arena] = None, loads: Callable[[Any], Any] = load_header) -> Frame:
    """Cut what follows the head into header and buffers.

    Args:
        body: header and payload.
        header_bytes: the header's length.
        arena: where buffers may lie that were not sent.
        loads: reads JSON; a quicker one where there is one.
    Raises:
        WireError: see :func:`decode_header`.
    """
    header = decode_header(body[:header_bytes], len(body) - header_bytes, arena, loads)
    return cut(header, body[header_bytes:], arena)


def send(sock: socket.socket, header: Dict[str, Any], buffers: Sequence[Any] = (), place: Optional[Place] = None) -> None:
    """Write one frame, blocking; arguments as :func:`encode` takes them."""
    pieces = [memoryview(each) for each in encode(header, buffers, place) if len(each)]
    while pieces:
        sent = sock.sendmsg(pieces[:_MAX_PIECES])
        while pieces and sent >= len(pieces[0]):
            sent -= len(pieces.pop(0))
        if sent:
            pieces[0] = pieces[0][sent:]


def receive(sock: socket.socket, arena: Optional[Arena] = None) -> Frame:
    """Read one frame, blocking.

    Args:
        sock: the peer.
        arena: what is shared with it.
    Raises:
        EOFError: the peer closed the socket.
        WireError: see :func:`decode_head` and :func:`decode_body`.
    """
    return Receiver(sock, arena).receive()


class Receiver:
    """Reads frames from a blocking socket; a small one in one go.

    Args:
        sock: the peer.
        arena: what is shared with it.
    """

    def __init__(self, sock: socket.socket, arena: Optional[Arena] = None) -> None:
        self._sock = sock
        self._arena = arena
        self._ahead = b""

    def receive(self) -> Frame:
        """The next frame; as :func:`receive`."""
        start = self._ahead or self._sock.recv(_AHEAD_BYTES)
        while len(start) < HEAD.size:
            more = self._sock.recv(_AHEAD_BYTES) if start else b""
            if not more:
                raise EOFError("the peer closed the socket")
            start += more
        header_bytes, payload_bytes = decode_head(start[: HEAD.size])
        size = HEAD.size + header_bytes + payload_bytes
        self._ahead = start[size:]
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
    """Describe named arrays for a header and append their bytes to ``buffers``, as :func:`hubserve.types.packed` gives them.

    Raises:
        InvalidInput: the other side would not take an array of such a name, dtype or shape.
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
    """The reverse of :func:`pack_arrays`; the arrays are views into the frame."""
    return {each["name"]: array_from_bytes(buffers[each["buffer"]], each["dtype"], each["shape"]) for each in described}
