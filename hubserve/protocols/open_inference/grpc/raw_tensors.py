"""The bytes of tensors beside the messages that carry them.

A message's class copies them when it is decoded, when they are read from it, when they are put into it and when it is encoded. But in the
wire format (https://protobuf.dev/programming-guides/encoding/) the entries of a ``bytes`` field are their own bytes behind a tag and a
length, and may stand anywhere among the other fields: so they are taken out before the rest is decoded, and follow it once it is encoded.
"""

from collections.abc import Sequence
from typing import Any

from tritonclient.grpc import service_pb2

from hubserve.net.grpc.framing import Message

_BYTES_TYPE = 2
_FIXED = {1: 8, 5: 4}  # type of a field -> its length
#: a shorter message is copied in less time than it is looked through
_SMALL_BYTES = 32 << 10
#: a message of more fields is not looked through to its end
_MOST_FIELDS = 1024


def _tag(message: Any, field: str) -> int:
    return int(message.DESCRIPTOR.fields_by_name[field].number) << 3 | _BYTES_TYPE


_RAW_INPUT = _tag(service_pb2.ModelInferRequest, "raw_input_contents")
_RAW_OUTPUT = bytes([_tag(service_pb2.ModelInferResponse, "raw_output_contents")])
_INFER_RESPONSE = bytes([_tag(service_pb2.ModelStreamInferResponse, "infer_response")])


def split_request(message: Message) -> tuple[Message, list[memoryview] | None]:
    """Take the raw contents of tensors out of an encoded ``ModelInferRequest``.

    Args:
        message: what came.
    Returns:
        The rest of it, and views of the contents; the message as it came and None if it is short, or unusual, or wrong, which decoding it
        will tell.
    """
    if len(message) < _SMALL_BYTES:
        return message, None
    view, rest, raws = memoryview(message), [], []
    at = start = 0
    try:
        for _ in range(_MOST_FIELDS):
            if at >= len(view):
                break
            begin = at
            tag, at = _varint(view, at)
            kind = tag & 7
            if kind == _BYTES_TYPE:
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


def has_many_fields(message: bytes | bytearray, most: int) -> bool:
    """Return True if an encoded message has more than ``most`` fields, which its class makes objects of; False if it is not a message."""
    view, at = memoryview(message), 0
    try:
        for _ in range(most):
            if at >= len(view):
                return False
            tag, at = _varint(view, at)
            kind = tag & 7
            if kind == _BYTES_TYPE:
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
    """A number of up to 64 bits, and where what follows it begins."""
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


def _coded(value: int) -> bytes:
    coded = bytearray()
    while value > 127:
        coded.append(value & 127 | 128)
        value >>= 7
    coded.append(value)
    return bytes(coded)


def response_parts(message: Any, raws: Sequence[Any]) -> list[Any]:
    """Encode a ``ModelInferResponse``.

    Args:
        message: all of it but the raw contents.
        raws: those, bytes-like, one for each output.
    """
    parts = [message.SerializeToString()]
    for raw in raws:
        parts += (_RAW_OUTPUT + _coded(len(raw)), raw)
    return parts


def stream_response_parts(message: Any, raws: Sequence[Any]) -> list[Any]:
    """Encode a ``ModelStreamInferResponse``.

    Args:
        message: all of it but the raw contents.
        raws: those of its ``infer_response``, bytes-like, one for each output.
    """
    if not raws:
        return [message.SerializeToString()]
    rest = service_pb2.ModelStreamInferResponse(error_message=message.error_message).SerializeToString()
    inner = response_parts(message.infer_response, raws)
    return [rest + _INFER_RESPONSE + _coded(sum(map(len, inner))), *inner]
