"""Run tasks that are not awaited: log their errors, and keep them until they end."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

log = logging.getLogger("hubserve")

T = TypeVar("T")

#: the event loop itself keeps weak references only
_running: set["asyncio.Task[Any]"] = set()


def run_in_background(work: Coroutine[Any, Any, T], doing: str) -> "asyncio.Task[T]":
    """Start a task whose error is logged when it fails, even if its result is never awaited.

    Args:
        work: the coroutine to run.
        doing: completes "an unexpected error while ...".
    """
    # not in the context of the request that happens to start it: it outlives that request
    task = Context().run(asyncio.get_running_loop().create_task, work)
    _running.add(task)

    def on_done(done: "asyncio.Task[T]") -> None:
        _running.discard(done)
        if not done.cancelled() and (error := done.exception()) is not None:
            log.error("an unexpected error while %s", doing, exc_info=error)

    task.add_done_callback(on_done)
    return task


async def finish(work: Coroutine[Any, Any, None], doing: str) -> None:
    """Await work, such as cleaning up, that must be complete before the caller goes on, also if the caller is cancelled meanwhile.

    Args:
        work: the coroutine to run.
        doing: completes "an unexpected error while ...".
    Raises:
        CancelledError: the caller was cancelled; the work is complete.
    """
    task, was_cancelled = run_in_background(work, doing), False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            was_cancelled = True
    if was_cancelled:
        raise asyncio.CancelledError
    task.result()


async def repeat(work: Callable[[], Awaitable[None]], every_s: float, doing: str) -> None:
    """Call something periodically until cancelled; failures are logged.

    Args:
        work: called and awaited.
        every_s: the pause before each call.
        doing: completes "an unexpected error while ...".
    """
    while True:
        await asyncio.sleep(every_s)
        try:
            await work()
        except Exception:
            log.exception("an unexpected error while %s", doing)
