"""Write ``saved_model.pb`` without TensorFlow, field by field."""

from collections.abc import Mapping, Sequence
from pathlib import Path

#: DataType of types.proto
FLOAT, STRING, COMPLEX, BFLOAT16 = 1, 7, 8, 14
#: name -> (datatype, lengths; None for an unknown rank)
Tensors = Mapping[str, tuple[int, Sequence[int] | None]]
X: Tensors = {"x": (FLOAT, (-1, 4))}


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    parts = []
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])


def field(number: int, value: int | bytes | str) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def tensor(dtype: int, lengths: Sequence[int] | None) -> bytes:
    shape = field(3, 1) if lengths is None else b"".join(field(2, field(1, length) if length else b"") for length in lengths)
    return field(1, "op:0") + field(2, dtype) + field(3, shape)


def signature(inputs: Tensors, outputs: Tensors) -> bytes:
    sides = ((1, inputs), (2, outputs))
    return b"".join(
        field(number, field(1, name) + field(2, tensor(dtype, lengths)))
        for number, side in sides
        for name, (dtype, lengths) in side.items()
    )


def graph(signatures: Mapping[str, bytes], tags: Sequence[str] = ("serve",), *, objects: bool = True) -> bytes:
    listed = b"".join(field(5, field(1, name) + field(2, each)) for name, each in signatures.items())
    return field(1, b"".join(field(4, tag) for tag in tags)) + listed + (field(7, b"") if objects else b"")


def write(folder: Path, *graphs: bytes) -> Path:
    """Write a SavedModel without weights; return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "saved_model.pb").write_bytes(field(1, 1) + b"".join(field(2, each) for each in graphs))
    return folder
