"""Responses of other models, as they come."""

import asyncio
from typing import Any, Awaitable, Coroutine, Iterator

from hubserve.kinds.requests import Replies
from hubserve.kinds.triton_api.errors import TritonError
from hubserve.kinds.triton_api.responses import InferenceResponse


class ResponseIterator:
    """The responses of a decoupled model, as they come. It may also be used with ``async for``."""

    def __init__(self, replies: Replies) -> None:
        self._replies = replies

    def __iter__(self) -> Iterator[InferenceResponse]:
        return self

    def __next__(self) -> InferenceResponse:
        response = self._replies.take()
        if response is None:
            raise StopIteration
        return InferenceResponse.from_whole(response)

    def __aiter__(self) -> "ResponseIterator":
        return self

    async def __anext__(self) -> InferenceResponse:
        await _ready(self._replies)
        try:
            return self.__next__()
        except StopIteration:
            raise StopAsyncIteration from None

    def cancel(self) -> None:
        """No more are wanted."""
        self._replies.close()

    def __del__(self) -> None:
        self._replies.close()


def only(replies: Replies) -> InferenceResponse:
    """Wait for the response of a model that gives exactly one."""
    try:
        response = replies.take()
    finally:
        replies.close()
    if response is None:
        return InferenceResponse(error=TritonError("the model gave no response"))
    return InferenceResponse.from_whole(response)


def awaited(replies: Replies, decoupled: bool) -> Awaitable[Any]:
    """Return what is awaited for the responses: a task where an event loop runs, so that it can be given to whatever takes futures.

    Args:
        replies: of the call.
        decoupled: whether an iterator of the responses is wanted rather than the one response.
    """
    waiting: Coroutine[Any, Any, Any] = _soon(ResponseIterator(replies)) if decoupled else _only_async(replies)
    try:
        return asyncio.get_running_loop().create_task(waiting)
    except RuntimeError:  # it is awaited in a loop that does not run yet
        return waiting


async def _only_async(replies: Replies) -> InferenceResponse:
    try:
        await _ready(replies)
    except BaseException:
        replies.close()
        raise
    return only(replies)


async def _soon(responses: ResponseIterator) -> ResponseIterator:
    return responses


async def _ready(replies: Replies) -> None:
    """Wait, without holding up the event loop, until a response can be taken."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def tell() -> None:
        if not ready.done():
            ready.set_result(None)

    def wake() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell)

    replies.notify(wake)
    await ready
