"""The protobuf wire format, as much of it as reading a Paddle program needs.

Source: https://protobuf.dev/programming-guides/encoding/. Reading it here means that a program can be described without
importing Paddle, and that a damaged one is refused before Paddle's parser is given it (which may crash the process).
"""

import struct
from typing import Dict, List, Tuple, Union

#: bytes, or a part of a memory that is not copied
Data = Union[bytes, memoryview]
Value = Union[int, bytes, memoryview]
#: field number -> its values in the order of the file: integers, or the bytes of text, messages and packed numbers
Message = Dict[int, List[Value]]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10


def parse_message(data: Data) -> Message:
    """Split one message into its fields; messages inside it stay bytes.

    Raises:
        ValueError: the bytes are not a message, or end too early.
    """
    fields: Message = {}
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise ValueError(f"field number 0 at byte {at}")
        value: Value
        if kind == _VARINT:
            value, at = _read_varint(data, at)
        elif kind == _BYTES:
            length, at = _read_varint(data, at)
            value, at = _take(data, at, length)
        elif kind == _FIXED64:
            value, at = _take(data, at, 8)
        elif kind == _FIXED32:
            value, at = _take(data, at, 4)
        else:
            raise ValueError(f"unknown wire type {kind} at byte {at}")
        fields.setdefault(number, []).append(value)
    return fields


def _take(data: Data, at: int, length: int) -> Tuple[Data, int]:
    end = at + length
    if end > len(data):
        raise ValueError(f"{end - len(data)} bytes are missing at the end")
    return data[at:end], end


def _read_varint(data: Data, at: int) -> Tuple[int, int]:
    value = 0
    for position in range(_MAX_VARINT_BYTES):
        if at + position >= len(data):
            raise ValueError("the data ends inside a number")
        byte = data[at + position]
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            return value, at + position + 1
    raise ValueError(f"a number of more than {_MAX_VARINT_BYTES} bytes at byte {at}")


def message_of(fields: Message, number: int) -> Message:
    """Return the message in a field that occurs exactly once.

    Raises:
        ValueError: it is missing, or no message.
    """
    values = messages_of(fields, number)
    if len(values) != 1:
        raise ValueError(f"field {number} is there {len(values)} times instead of once")
    return values[0]


def messages_of(fields: Message, number: int) -> List[Message]:
    """Return the messages in a repeated field."""
    return [parse_message(_as_bytes(value)) for value in fields.get(number, [])]


def text_of(fields: Message, number: int) -> str:
    """Return the text in a field; "" if it is missing."""
    values = fields.get(number) or [b""]
    return bytes(_as_bytes(values[-1])).decode("utf-8")


def texts_of(fields: Message, number: int) -> List[str]:
    """Return the texts in a repeated field."""
    return [bytes(_as_bytes(value)).decode("utf-8") for value in fields.get(number, [])]


def integer_of(fields: Message, number: int, default: int = 0) -> int:
    """Return the integer in a field."""
    values = fields.get(number) or [default]
    if not isinstance(values[-1], int):
        raise ValueError(f"field {number} is not a number")  # noqa: TRY004 - damaged data is a ValueError throughout
    return _signed(values[-1])


def integers_of(fields: Message, number: int) -> List[int]:
    """Return the integers in a repeated field, packed or not."""
    found: List[int] = []
    for value in fields.get(number, []):
        if isinstance(value, int):
            found.append(_signed(value))
            continue
        at = 0
        while at < len(value):
            each, at = _read_varint(value, at)
            found.append(_signed(each))
    return found


def _as_bytes(value: Value) -> Data:
    if isinstance(value, int):
        raise ValueError("a number stands where text or a message belongs")  # noqa: TRY004 - as above
    return value


def _signed(value: int) -> int:
    return struct.unpack("<q", struct.pack("<Q", value & (2**64 - 1)))[0]  # type: ignore[no-any-return]  # struct gives Any
