"""Decode and encode large messages off the event loop."""

from collections.abc import Callable
from functools import partial
from typing import Any

from hubserve.net.grpc.framing import Message
from hubserve.protocols.base import Context
from hubserve.protocols.open_inference.core.datatypes import ManyElements, raw_from_array
from hubserve.protocols.open_inference.core.json_tensors import is_large
from hubserve.protocols.open_inference.core.types import InferCall, InferResult
from hubserve.protocols.open_inference.grpc.codec import decode_call, parse_request
from hubserve.protocols.open_inference.grpc.raw_tensors import split_request

#: a message of up to this many bytes beside raw contents is decoded directly
_SMALL_BYTES = 64 << 10


async def read_message(data: Message, context: Context, on_id: Callable[[str], None]) -> InferCall:
    """Decode a ``ModelInferRequest``.

    Args:
        data: the encoded message.
        context: state that the protocols share.
        on_id: called with the request's id as soon as it is known, even if the request turns out to be invalid.
    Raises:
        InvalidInput: it is something else, or contradicts itself.
        TooLarge: it holds too many byte strings.
    """
    reader, parts = context.v2.reader, split_request(data)
    if len(parts[0]) > _SMALL_BYTES:
        call = await reader.message(data)
        on_id(call.id)
        return call
    request, raws = parse_request(data, parts)
    on_id(request.id)
    try:
        return decode_call(request, raws)
    except ManyElements as many:
        return await reader.in_thread(many, partial(decode_call, request, raws))


async def encode_large(result: InferResult, context: Context) -> dict[str, Any]:
    """Encode the byte strings of outputs that would hold up the event loop; by the outputs' names."""
    encoded = {}
    for each in result.outputs:
        if each.array is not None and each.datatype == "BYTES" and is_large(each.array):
            encoded[each.name] = await context.decoders.run(partial(raw_from_array, each.array))
    return encoded
