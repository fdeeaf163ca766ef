"""Make arrays of what an instance answered, off the event loop where these are many byte strings."""

import asyncio
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from hubserve.instance.wire import unpack_arrays
from hubserve.types import BYTES, FEW_ELEMENTS, InferResponse, with_packed

Make = Callable[[dict[str, np.ndarray]], InferResponse]


def answer_with_arrays(
    answer: "asyncio.Future[InferResponse]", described: Sequence[dict[str, Any]], buffers: Sequence[memoryview], make: Make
) -> None:
    """Resolve a request's future with its arrays, now or when they are unpacked.

    Args:
        answer: it.
        described: the arrays, as a frame's header has them.
        buffers: the frame's, in memory that stays as it is.
        make: makes the response of them.
    """
    if not _is_large(described):
        answer.set_result(make(unpack_arrays(described, list(buffers))))
        return
    unpacked = asyncio.get_running_loop().run_in_executor(None, _unpack, described, list(buffers))
    unpacked.add_done_callback(partial(_resolve, answer, make))


async def unpack(described: Sequence[dict[str, Any]], buffers: Sequence[memoryview]) -> dict[str, np.ndarray]:
    """Make arrays of a frame's buffers; as :func:`hubserve.instance.wire.unpack_arrays`."""
    if not _is_large(described):
        return unpack_arrays(described, list(buffers))
    return await asyncio.to_thread(_unpack, described, list(buffers))


def _is_large(described: Sequence[dict[str, Any]]) -> bool:
    return any(each["dtype"] == BYTES and math.prod(each["shape"]) > FEW_ELEMENTS for each in described)


def _unpack(described: Sequence[dict[str, Any]], buffers: list[memoryview]) -> dict[str, np.ndarray]:
    arrays = unpack_arrays(described, buffers)
    for each in described:
        if each["dtype"] == BYTES:  # whoever sends them on need not pack them again
            arrays[each["name"]] = with_packed(arrays[each["name"]], buffers[each["buffer"]])
    return arrays


def _resolve(answer: "asyncio.Future[InferResponse]", make: Make, unpacked: "asyncio.Future[dict[str, np.ndarray]]") -> None:
    if answer.done():  # its asker has gone
        unpacked.cancelled() or unpacked.exception()
    elif unpacked.cancelled():
        answer.cancel()
    elif error := unpacked.exception():
        answer.set_exception(error)
    else:
        answer.set_result(make(unpacked.result()))
