"""Responses of other models, as they come."""

import asyncio
from typing import Any, Awaitable, Coroutine, Iterator, List

from hubserve.kinds.raw_requests import Replies
from hubserve.kinds.triton.api.errors import TritonError
from hubserve.kinds.triton.api.responses import InferenceResponse


class ResponseIterator:
    """The responses of a decoupled model, as they come; once all are there, they can be gone through again.

    It may also be used with ``async for``.
    """

    def __init__(self, replies: Replies) -> None:
        self._replies = replies
        self._seen: List[InferenceResponse] = []
        self._next = 0  # which of these comes next, once no more come
        self._is_over = False

    def __iter__(self) -> Iterator[InferenceResponse]:
        self._begin()
        return self

    def _begin(self) -> None:
        if self._is_over and self._next >= len(self._seen):
            self._next = 0

    def __next__(self) -> InferenceResponse:
        if not self._is_over:
            response = self._replies.next_response()
            if response is not None:
                self._seen.append(InferenceResponse.from_raw(response))
                return self._seen[-1]
            self._is_over, self._next = True, len(self._seen)
        if self._next >= len(self._seen):
            raise StopIteration
        self._next += 1
        return self._seen[self._next - 1]

    def __aiter__(self) -> "ResponseIterator":
        self._begin()
        return self

    async def __anext__(self) -> InferenceResponse:
        if not self._is_over:
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
        response = replies.next_response()
    finally:
        replies.close()
    if response is None:
        return InferenceResponse(error=TritonError("the model gave no response"))
    return InferenceResponse.from_raw(response)


def loop_runs_here() -> bool:
    """Return whether this thread runs an event loop, whose coroutines all wait while the thread waits."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def awaited(replies: Replies, decoupled: bool) -> Awaitable[Any]:
    """Return what is awaited for the responses: a task where an event loop runs, so that it can be given to whatever takes futures.

    Args:
        replies: of the call.
        decoupled: whether an iterator of the responses is wanted rather than the one response.
    """
    waiting: Coroutine[Any, Any, Any] = _soon(ResponseIterator(replies)) if decoupled else _only_async(replies)
    return asyncio.get_running_loop().create_task(waiting) if loop_runs_here() else waiting


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
