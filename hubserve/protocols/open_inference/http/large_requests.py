"""Decode requests over HTTP: small ones on the event loop, large ones in a decoder process."""

from functools import partial
from typing import Any

from hubserve.protocols.documents import SMALL_BYTES, JsonBounds, is_light
from hubserve.protocols.open_inference.core.datatypes import ManyElements
from hubserve.protocols.open_inference.core.large_requests import LargeRequests, bounds_of, pack_call, signature_of
from hubserve.protocols.open_inference.core.signatures import Signature
from hubserve.protocols.open_inference.core.types import InferCall
from hubserve.protocols.open_inference.http.decode import json_length, read_call
from hubserve.protocols.open_inference.http.generate import read_generate
from hubserve.protocols.open_inference.http.tensor_header_cache import TensorHeaderCache


class RequestReader:
    """Decoder of request bodies that does not block the event loop.

    Args:
        large_requests: decodes off the event loop.
        bounds: limits of a document.
    """

    def __init__(self, large_requests: LargeRequests, bounds: JsonBounds) -> None:
        self._large_requests = large_requests
        self._bounds = bounds
        self._cache = TensorHeaderCache()

    async def infer(self, body: memoryview, header_length: str, signature: Signature) -> InferCall:
        """Decode an inference request; see :func:`hubserve.protocols.open_inference.http.decode.read_call`."""
        length = json_length(body, header_length)
        if length > SMALL_BYTES and not is_light(body[:length]):
            return await self._large_requests.in_process(f"{__name__}:decode_infer", body, signature, header_length=header_length)
        try:
            return read_call(body, header_length, signature, self._cache, self._bounds)
        except ManyElements as many:
            decode = partial(read_call, body, header_length, signature, self._cache, self._bounds)
            return await self._large_requests.in_thread(many, decode)

    async def generate(self, body: memoryview, signature: Signature) -> InferCall:
        """Decode a request of the generate extension; see :func:`hubserve.protocols.open_inference.http.generate.read_generate`."""
        if is_light(body):
            return read_generate(body, signature, self._bounds)
        return await self._large_requests.in_process(f"{__name__}:decode_generate", body, signature)


# --- jobs, in a decoder process ---


def decode_infer(arguments: dict[str, Any], buffers: list[memoryview]) -> tuple[dict[str, Any], list[Any]]:
    """Decode an inference request."""
    bounds = bounds_of(arguments)
    return pack_call(read_call(buffers[0], arguments["header_length"], signature_of(arguments), TensorHeaderCache(), bounds), bounds)


def decode_generate(arguments: dict[str, Any], buffers: list[memoryview]) -> tuple[dict[str, Any], list[Any]]:
    """Decode a request of the generate extension."""
    bounds = bounds_of(arguments)
    return pack_call(read_generate(buffers[0], signature_of(arguments), bounds), bounds)
