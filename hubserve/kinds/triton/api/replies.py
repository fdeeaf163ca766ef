"""Iterate over the responses of other models, or await them."""

import asyncio
from typing import Any, Awaitable, Coroutine, Iterator, List

from hubserve.kinds.raw_requests import Replies
from hubserve.kinds.triton.api.errors import TritonError
from hubserve.kinds.triton.api.responses import InferenceResponse


class ResponseIterator:
    """Iterator over the responses of a decoupled model; once all have arrived, it can be iterated again.

    It also supports ``async for``.
    """

    def __init__(self, replies: Replies) -> None:
        self._replies = replies
        self._seen: List[InferenceResponse] = []
        self._next = 0  # index into these, once the stream has ended
        self._is_over = False

    def __iter__(self) -> Iterator[InferenceResponse]:
        self._rewind()
        return self

    def _rewind(self) -> None:
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
        self._rewind()
        return self

    async def __anext__(self) -> InferenceResponse:
        if not self._is_over:
            await _ready(self._replies)
        try:
            return self.__next__()
        except StopIteration:
            raise StopAsyncIteration from None

    def cancel(self) -> None:
        """Discard further responses."""
        self._replies.close()

    def __del__(self) -> None:
        self._replies.close()


def single_response(replies: Replies) -> InferenceResponse:
    """Wait for the response of a model that sends exactly one."""
    try:
        response = replies.next_response()
    finally:
        replies.close()
    if response is None:
        return InferenceResponse(error=TritonError("the model sent no response"))
    return InferenceResponse.from_raw(response)


def loop_runs_here() -> bool:
    """Return True if this thread runs an event loop, all of whose coroutines wait while the thread is blocked."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def awaited(replies: Replies, decoupled: bool) -> Awaitable[Any]:
    """Return an awaitable of the responses: a task if an event loop runs here, so that it works wherever futures do.

    Args:
        replies: of the call.
        decoupled: whether its result is an iterator of the responses rather than the one response.
    """
    waiting: Coroutine[Any, Any, Any] = _immediately(ResponseIterator(replies)) if decoupled else _single_response_async(replies)
    return asyncio.get_running_loop().create_task(waiting) if loop_runs_here() else waiting


async def _single_response_async(replies: Replies) -> InferenceResponse:
    try:
        await _ready(replies)
    except BaseException:
        replies.close()
        raise
    return single_response(replies)


async def _immediately(responses: ResponseIterator) -> ResponseIterator:
    return responses


async def _ready(replies: Replies) -> None:
    """Wait, without blocking the event loop, until the next response has arrived."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def set_ready() -> None:
        if not ready.done():
            ready.set_result(None)

    def wake() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(set_ready)

    replies.notify(wake)
    await ready
