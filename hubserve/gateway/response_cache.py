"""Keeps answers, so that a question that comes again need not be computed again."""

import asyncio
import json
from collections import OrderedDict
from hashlib import blake2b

import numpy as np

from hubserve.types import InferRequest, InferResponse, packed

#: what an entry takes besides its arrays, roughly
_ENTRY_BYTES = 512
#: a request of up to this many bytes is hashed directly
_SMALL_BYTES = 4 << 20


class ResponseCache:
    """The answers of one module version that were asked for last.

    Args:
        max_bytes: how much they may take.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[bytes, tuple[int, InferResponse]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def nbytes(self) -> int:
        """How much the answers take."""
        return self._bytes

    def get(self, key: bytes) -> InferResponse | None:
        """The answer to a question; None if it is not known. Its arrays cannot be written to."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[1]

    def put(self, key: bytes, answer: InferResponse) -> None:
        """Keep an answer, and forget those that were not asked for for the longest time if it does not fit otherwise."""
        size = _ENTRY_BYTES + _size(answer)
        if size > self._max_bytes:
            return
        if key in self._entries:
            self._bytes -= self._entries.pop(key)[0]
        self._entries[key] = (size, _copy(answer))
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._bytes -= self._entries.popitem(last=False)[1][0]


async def find_key(request: InferRequest) -> bytes:
    """Return what :func:`key_of` does; a large request is hashed in a thread, so that other tasks can run."""
    arrays = (request.tensors or {}).values()
    size = sum(array.nbytes for array in arrays) + sum(map(len, [request.arguments or b"", *(request.pictures or ())]))
    return key_of(request) if size <= _SMALL_BYTES else await asyncio.to_thread(key_of, request)


def key_of(request: InferRequest) -> bytes:
    """What two requests have in common that have the same answer, whoever asks and when."""
    digest = blake2b(digest_size=24)
    about = [request.wants_json, request.outputs, sorted(request.parameters.items())]
    digest.update(json.dumps(about, default=repr).encode("utf-8", "surrogatepass"))
    for name, array in sorted((request.tensors or {}).items()):
        dtype, data = packed(array)
        if isinstance(data, np.ndarray):
            data = data.reshape(-1).view(np.uint8)
        digest.update(json.dumps([name, dtype, array.shape]).encode("utf-8", "surrogatepass"))
        digest.update(data)
    for part in [request.arguments or b"", *(request.pictures or ())]:
        digest.update(b"|%d|" % len(part))
        digest.update(part)
    digest.update(b"%d" % len(request.pictures or ()))
    return digest.digest()


def _size(answer: InferResponse) -> int:
    arrays = (answer.tensors or {}).values()
    return len(answer.json or b"") + sum(_array_size(array) for array in arrays)


def _array_size(array: np.ndarray) -> int:
    texts = sum(map(len, array.ravel())) if array.dtype.kind == "O" else 0
    return array.nbytes + texts


def _copy(answer: InferResponse) -> InferResponse:
    """An answer in memory of its own: what comes from an instance lies where the next answers will."""
    tensors = None
    if answer.tensors is not None:
        tensors = {name: array.copy() for name, array in answer.tensors.items()}
        for array in tensors.values():
            array.setflags(write=False)
    return answer._replace(json=None if answer.json is None else memoryview(bytes(answer.json)), tensors=tensors)
