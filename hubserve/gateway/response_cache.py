"""Cache responses, so that an equal request need not be computed again."""

import asyncio
import json
from collections import OrderedDict
from hashlib import blake2b

import numpy as np

from hubserve.types import InferRequest, InferResponse, packed

#: approximate size of an entry besides its arrays
_ENTRY_BYTES = 512
#: a request of up to this many bytes is hashed directly
_SMALL_BYTES = 4 << 20


class ResponseCache:
    """Size-bounded cache of one module version's responses, least recently used first out.

    Args:
        max_bytes: the bound of their total size.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[bytes, tuple[int, InferResponse]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def nbytes(self) -> int:
        """Total size of the responses."""
        return self._bytes

    def get(self, key: bytes) -> InferResponse | None:
        """Return a cached response, whose arrays are read-only, or None."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[1]

    def put(self, key: bytes, response: InferResponse) -> None:
        """Add a response, and drop the least recently used ones until it fits."""
        size = _ENTRY_BYTES + _size(response)
        if size > self._max_bytes:
            return
        if key in self._entries:
            self._bytes -= self._entries.pop(key)[0]
        self._entries[key] = (size, _copy(response))
        self._bytes += size
        while self._bytes > self._max_bytes:
            self._bytes -= self._entries.popitem(last=False)[1][0]


async def find_key(request: InferRequest) -> bytes:
    """Return the request's cache key; a large request is hashed in a thread, off the event loop."""
    arrays = (request.tensors or {}).values()
    size = sum(array.nbytes for array in arrays) + sum(map(len, [request.arguments or b"", *(request.pictures or ())]))
    return key_of(request) if size <= _SMALL_BYTES else await asyncio.to_thread(key_of, request)


def key_of(request: InferRequest) -> bytes:
    """Return the cache key of a request: equal for requests that have the same response."""
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


def _size(response: InferResponse) -> int:
    arrays = (response.tensors or {}).values()
    return len(response.json or b"") + sum(_array_size(array) for array in arrays)


def _array_size(array: np.ndarray) -> int:
    texts = sum(map(len, array.ravel())) if array.dtype.kind == "O" else 0
    return array.nbytes + texts


def _copy(response: InferResponse) -> InferResponse:
    """Return a response with its own, read-only memory: that of an instance's answer is overwritten by later ones."""
    tensors = None
    if response.tensors is not None:
        tensors = {name: array.copy() for name, array in response.tensors.items()}
        for array in tensors.values():
            array.setflags(write=False)
    return response._replace(json=None if response.json is None else memoryview(bytes(response.json)), tensors=tensors)
