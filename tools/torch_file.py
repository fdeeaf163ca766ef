"""Read the tensors of a legacy ``.pth`` file without PyTorch, and without trusting what is in it.

Until 1.6 PyTorch wrote five pickles one after the other (a magic number, a protocol number, facts about the machine, the object
itself, the keys of its storages) and then each storage: its length as an int64, and its elements. A pickle is a program. Here its
instructions are read first and only those that a dict of tensors is made of may run; the few names that it may call are stand-ins of
this file; and every number that it gives is checked against the file before memory is taken for it.
"""

import io
import math
import pickle
import pickletools
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hubserve.errors import LoadFailed

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
_ZIP_MAGIC = b"PK\x03\x04"
_MAX_RANK = 32
_LENGTH_BYTES = 8

#: What a dict of tensors, and the short pickles around it, are made of.
_INSTRUCTIONS = frozenset(
    (
        *("PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "BUILD", "BINPERSID"),
        *("BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
        *("NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE"),
        *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"),
        *("EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS"),
    )
)


class _StorageType(NamedTuple):
    name: str
    dtype: str


class _Storage(NamedTuple):
    key: str
    dtype: str
    numel: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _RebuildTensor:
    """Stand-in for ``torch._utils._rebuild_tensor_v2``, without attributes that a pickle could change."""

    __slots__ = ()

    def __call__(self, storage: Any, offset: Any, size: Any, stride: Any, *_grad_and_hooks: Any) -> _Tensor:
        if not isinstance(storage, _Storage):
            raise LoadFailed("a tensor has no storage")
        if not (_are_lengths((offset,)) and _are_lengths(size) and _are_lengths(stride) and len(size) == len(stride) <= _MAX_RANK):
            raise LoadFailed(f"a tensor of storage '{storage.key[:40]}' has an impossible offset, size or stride")
        last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
        if 0 not in size and (last >= storage.numel or math.prod(size) > storage.numel):
            raise LoadFailed(f"a tensor reaches beyond its storage '{storage.key[:40]}' of {storage.numel} elements")
        return _Tensor(storage, offset, size, stride)


_STORAGE_DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}
_ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _RebuildTensor(),
    **{("torch", name): _StorageType(name, dtype) for name, dtype in _STORAGE_DTYPES.items()},
}


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise LoadFailed(f"it asks for '{module[:60]}.{name[:60]}', which no file of tensors needs; nothing was run")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        fits = isinstance(pid, tuple) and len(pid) == 6 and pid[0] == "storage" and isinstance(pid[1], _StorageType)
        if not (fits and isinstance(pid[2], str) and _are_lengths((pid[4],)) and pid[5] is None):
            raise LoadFailed("it refers to something other than a whole storage")
        storage = _Storage(pid[2], pid[1].dtype, pid[4])
        if self.storages.setdefault(storage.key, storage) != storage:
            raise LoadFailed(f"it describes storage '{storage.key[:40]}' in two ways")
        return storage


def read_state_dict(path: Path) -> dict[str, np.ndarray]:
    """Read a legacy ``.pth`` file that holds a dict of tensors (a state dict).

    Args:
        path: the file.

    Returns:
        Name -> array, C-ordered and writeable, in the file's order.

    Raises:
        LoadFailed: it is missing, of another format, damaged, cut short, or asks for anything that a dict of tensors does not need.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LoadFailed(f"cannot read '{path}': {error.strerror}") from None
    if data.startswith(_ZIP_MAGIC):
        raise LoadFailed(
            f"cannot read '{path}': it has the zip format of PyTorch 1.6 and later, and only the older one can be read without PyTorch. "
            "Save it again with torch.save(..., _use_new_zipfile_serialization=False)."
        )
    try:
        return _read(data)
    except LoadFailed as error:
        raise LoadFailed(
            f"cannot use '{path}' as a legacy PyTorch file: {error}. Get the file again from a source that you trust."
        ) from None


def _read(data: bytes) -> dict[str, np.ndarray]:
    stream = io.BytesIO(data)
    if _next_pickle(stream)[0] != MAGIC or _next_pickle(stream)[0] != PROTOCOL:
        raise LoadFailed("it does not begin with PyTorch's magic and protocol numbers")
    machine = _next_pickle(stream)[0]
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise LoadFailed("it was not written on a little-endian machine")
    tensors, storages = _next_pickle(stream)
    # dict's own method: a pickle may give an OrderedDict attributes that hide its methods
    items = list(dict.items(tensors)) if isinstance(tensors, dict) else []
    if not items or not all(isinstance(name, str) and isinstance(tensor, _Tensor) for name, tensor in items):
        raise LoadFailed("it does not hold a dict of named tensors")
    elements = _read_storages(stream, _next_pickle(stream)[0], storages)
    return {name: _view(elements[tensor.storage.key], tensor) for name, tensor in items}


def _next_pickle(stream: io.BytesIO) -> tuple[Any, dict[str, _Storage]]:
    """Return the object that the pickle at the stream's position builds, and the storages it refers to."""
    start = stream.tell()
    try:
        instructions = [(instruction.name, argument) for instruction, argument, _ in pickletools.genops(stream)]
    except (ValueError, EOFError, UnicodeDecodeError):
        raise LoadFailed(f"what should be a pickle at byte {start} is damaged or cut short") from None
    code = stream.getvalue()[start : stream.tell()]
    for name, argument in instructions:
        if name not in _INSTRUCTIONS:
            raise LoadFailed(f"its pickle at byte {start} uses the instruction {name}, which no file of tensors needs; nothing was run")
        # the unpickler's memo is a table as long as the highest number
        if name == "LONG_BINPUT" and (argument or 0) > len(code):
            raise LoadFailed(f"its pickle at byte {start} numbers more objects than it can hold")
    unpickler = _Unpickler(code)
    try:
        return unpickler.load(), unpickler.storages
    except (pickle.UnpicklingError, AttributeError, TypeError, ValueError, IndexError, KeyError, EOFError, RecursionError, OverflowError):
        raise LoadFailed(f"its pickle at byte {start} does not describe a dict of tensors") from None


def _read_storages(stream: io.BytesIO, keys: Any, storages: dict[str, _Storage]) -> dict[str, np.ndarray]:
    """Return the elements of each storage, as views of the file's bytes."""
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys) or sorted(keys) != sorted(storages):
        raise LoadFailed("its list of storages is not that of its tensors")
    data, position, found = stream.getvalue(), stream.tell(), {}
    for key in keys:
        storage = storages[key]
        end = position + _LENGTH_BYTES + storage.numel * np.dtype(storage.dtype).itemsize
        if end > len(data):
            raise LoadFailed(f"it ends within storage '{key[:40]}', which should end at byte {end}; the file has {len(data)} bytes")
        if int.from_bytes(data[position : position + _LENGTH_BYTES], "little", signed=True) != storage.numel:
            raise LoadFailed(f"storage '{key[:40]}' does not have the {storage.numel} elements that its tensors count on")
        found[key] = np.frombuffer(data, storage.dtype, storage.numel, position + _LENGTH_BYTES)
        position = end
    if position != len(data):
        raise LoadFailed(f"{len(data) - position} bytes follow its last storage")
    return found


def _view(elements: np.ndarray, tensor: _Tensor) -> np.ndarray:
    if 0 in tensor.size:
        return np.empty(tensor.size, elements.dtype)
    strides = [step * elements.itemsize for step in tensor.stride]
    # _RebuildTensor has checked that this stays within the storage
    return np.lib.stride_tricks.as_strided(elements[tensor.offset :], tensor.size, strides).copy(order="C")


def _are_lengths(values: Any) -> bool:
    return isinstance(values, tuple) and all(type(value) is int and 0 <= value < 1 << 62 for value in values)
