"""Keep the raw contents of tensors out of the generated message classes, which would copy them.

A class copies a ``bytes`` field when it is decoded, read, set and encoded. In the wire format
(https://protobuf.dev/programming-guides/encoding/) its entries are plain bytes behind a tag and a length, and may stand anywhere among the
other fields: so they are split off before the rest is decoded, and appended once the rest is encoded.
"""

from collections.abc import Sequence
from typing import Any

from tritonclient.grpc import service_pb2

from hubserve.net.grpc.framing import Message

_LENGTH_DELIMITED = 2
#: wire type of a field of fixed length -> its length
_FIXED = {1: 8, 5: 4}
#: copying a shorter message is faster than scanning it
_SMALL_BYTES = 32 << 10
#: a message of more fields is not scanned
_MAX_FIELDS = 1024


def _tag(message: Any, field: str) -> int:
    return int(message.DESCRIPTOR.fields_by_name[field].number) << 3 | _LENGTH_DELIMITED


_RAW_INPUT = _tag(service_pb2.ModelInferRequest, "raw_input_contents")
_RAW_OUTPUT = bytes([_tag(service_pb2.ModelInferResponse, "raw_output_contents")])
_INFER_RESPONSE = bytes([_tag(service_pb2.ModelStreamInferResponse, "infer_response")])


def split_request(message: Message) -> tuple[Message, list[memoryview] | None]:
    """Split the raw contents of tensors off an encoded ``ModelInferRequest``.

    Args:
        message: its encoding.
    Returns:
        The rest of it, and views of the contents; or the message itself and None if it is short, has many fields, or is invalid, which its
        class reports when it decodes it.
    """
    if len(message) < _SMALL_BYTES:
        return message, None
    view, rest, raws = memoryview(message), [], []
    at = start = 0
    try:
        for _ in range(_MAX_FIELDS):
            if at >= len(view):
                break
            begin = at
            tag, at = _varint(view, at)
            kind = tag & 7
            if kind == _LENGTH_DELIMITED:
                length, at = _varint(view, at)
                if tag == _RAW_INPUT:
                    rest.append(view[start:begin])
                    start = at + length
                    raws.append(view[at:start])
                at += length
            elif kind == 0:
                _, at = _varint(view, at)
            else:
                at += _FIXED[kind]
    except (IndexError, KeyError):
        return message, None
    if at != len(view):
        return message, None
    return b"".join((*rest, view[start:])), raws


def has_many_fields(message: bytes | bytearray, limit: int) -> bool:
    """Return True if an encoded message has more than ``limit`` fields; False if it has fewer or is not a message."""
    view, at = memoryview(message), 0
    try:
        for _ in range(limit):
            if at >= len(view):
                return False
            tag, at = _varint(view, at)
            kind = tag & 7
            if kind == _LENGTH_DELIMITED:
                length, at = _varint(view, at)
                at += length
            elif kind == 0:
                _, at = _varint(view, at)
            else:
                at += _FIXED[kind]
    except (IndexError, KeyError):
        return False
    return at < len(view)


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """Return the number of up to 64 bits at an offset, and the offset behind it."""
    value = view[at]
    if value < 128:
        return value, at + 1
    value &= 127
    for shift in range(7, 64, 7):
        at += 1
        value |= (view[at] & 127) << shift
        if view[at] < 128:
            return value, at + 1
    raise IndexError


def _encode_varint(value: int) -> bytes:
    coded = bytearray()
    while value > 127:
        coded.append(value & 127 | 128)
        value >>= 7
    coded.append(value)
    return bytes(coded)


def response_parts(message: Any, raws: Sequence[Any]) -> list[Any]:
    """Encode a ``ModelInferResponse``.

    Args:
        message: all but the raw contents.
        raws: raw contents, bytes-like, one for each output.
    """
    parts = [message.SerializeToString()]
    for raw in raws:
        parts += (_RAW_OUTPUT + _encode_varint(len(raw)), raw)
    return parts


def stream_response_parts(message: Any, raws: Sequence[Any]) -> list[Any]:
    """Encode a ``ModelStreamInferResponse``.

    Args:
        message: all but the raw contents.
        raws: raw contents of its ``infer_response``, bytes-like, one for each output.
    """
    if not raws:
        return [message.SerializeToString()]
    rest = service_pb2.ModelStreamInferResponse(error_message=message.error_message).SerializeToString()
    inner = response_parts(message.infer_response, raws)
    return [rest + _INFER_RESPONSE + _encode_varint(sum(map(len, inner))), *inner]
