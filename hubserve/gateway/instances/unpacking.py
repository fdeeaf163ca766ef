"""Unpack large arrays of byte strings in a thread, off the event loop."""

import asyncio
import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from hubserve.types import BYTES, FEW_ELEMENTS, InferResponse, with_packed
from hubserve.wire.frames import unpack_arrays


class PackedResponse(NamedTuple):
    """A response whose arrays are still packed.

    Attributes:
        described: the arrays' descriptions, as in a frame's header.
        buffers: the frame's buffers, in memory that is never overwritten.
        parameters: the response's.
    """

    described: Sequence[dict[str, Any]]
    buffers: list[memoryview]
    parameters: dict[str, Any] | None


def has_many_strings(described: Sequence[dict[str, Any]]) -> bool:
    """Return True if arrays hold so many byte strings that unpacking them would delay the event loop."""
    return any(each["dtype"] == BYTES and math.prod(each["shape"]) > FEW_ELEMENTS for each in described)


async def unpack(described: Sequence[dict[str, Any]], buffers: Sequence[memoryview]) -> dict[str, np.ndarray]:
    """Unpack arrays from a frame's buffers; see :func:`hubserve.wire.frames.unpack_arrays`."""
    if not has_many_strings(described):
        return unpack_arrays(described, list(buffers))
    return await asyncio.to_thread(_arrays, described, list(buffers))


def _arrays(described: Sequence[dict[str, Any]], buffers: list[memoryview]) -> dict[str, np.ndarray]:
    arrays = unpack_arrays(described, buffers)
    for each in described:
        if each["dtype"] == BYTES:  # passing them on needs no second packing
            arrays[each["name"]] = with_packed(arrays[each["name"]], buffers[each["buffer"]])
    return arrays


def resolve_unpacked(answer: "asyncio.Future[InferResponse]", packed: PackedResponse) -> None:
    """Resolve a request's future once its arrays are unpacked."""
    unpacked = asyncio.get_running_loop().run_in_executor(None, _unpack, packed)
    unpacked.add_done_callback(partial(_resolve, answer))


def _unpack(packed: PackedResponse) -> InferResponse:
    return InferResponse(tensors=_arrays(packed.described, packed.buffers), parameters=packed.parameters)


def _resolve(answer: "asyncio.Future[InferResponse]", unpacked: "asyncio.Future[InferResponse]") -> None:
    if answer.done():  # it was cancelled
        unpacked.cancelled() or unpacked.exception()
    elif unpacked.cancelled():
        answer.cancel()
    elif error := unpacked.exception():
        answer.set_exception(error)
    else:
        answer.set_result(unpacked.result())
