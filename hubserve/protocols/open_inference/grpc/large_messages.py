"""Decode and encode messages: small ones on the event loop, large ones off it."""

from collections.abc import Callable
from functools import partial
from typing import Any

from hubserve.errors import InvalidInput
from hubserve.net.grpc.framing import Message
from hubserve.protocols.decoders import Decoders
from hubserve.protocols.open_inference.core.datatypes import ManyElements, raw_from_array
from hubserve.protocols.open_inference.core.json_tensors import is_large
from hubserve.protocols.open_inference.core.large_requests import LargeRequests, bounds_of, pack_call
from hubserve.protocols.open_inference.core.types import MAX_NAMED, InferCall, InferResult
from hubserve.protocols.open_inference.grpc.codec import decode_call, parse_request
from hubserve.protocols.open_inference.grpc.raw_tensors import has_many_fields, split_request

#: a message of up to this many bytes beside raw contents is decoded on the event loop
_SMALL_BYTES = 64 << 10
#: inputs, outputs, raw contents and parameters together
_MAX_FIELDS = 4 * MAX_NAMED


async def read_message(data: Message, large_requests: LargeRequests, on_id: Callable[[str], None] | None = None) -> InferCall:
    """Decode a ``ModelInferRequest``.

    Args:
        data: the encoded message.
        large_requests: decodes off the event loop.
        on_id: called with the request's id as soon as it is known, even if the request turns out to be invalid.
    Raises:
        InvalidInput: it is another message, or contradicts itself.
        TooLarge: it holds too many byte strings.
    """
    parts = split_request(data)
    if len(parts[0]) > _SMALL_BYTES:
        call = await large_requests.in_process(f"{__name__}:decode_message", data)
        if on_id:
            on_id(call.id)
        return call
    request, raws = parse_request(data, parts)
    if on_id:
        on_id(request.id)
    try:
        return decode_call(request, raws)
    except ManyElements as many:
        return await large_requests.in_thread(many, partial(decode_call, request, raws))


async def encode_large(result: InferResult, decoders: Decoders) -> dict[str, Any]:
    """Encode byte strings that would block the event loop; returns them by the names of their outputs."""
    encoded = {}
    for each in result.outputs:
        if each.array is not None and each.datatype == "BYTES" and is_large(each.array):
            encoded[each.name] = await decoders.run(partial(raw_from_array, each.array))
    return encoded


# --- job, in a decoder process ---


def decode_message(arguments: dict[str, Any], buffers: list[memoryview]) -> tuple[dict[str, Any], list[Any]]:
    """Decode a ``ModelInferRequest``."""
    message = bytes(buffers[0])
    if has_many_fields(message, _MAX_FIELDS):
        raise InvalidInput(f"the message has more than {_MAX_FIELDS} inputs, outputs, raw contents and parameters; send fewer")
    return pack_call(decode_call(*parse_request(message)), bounds_of(arguments))
