"""Requests that are being answered, counted. Plain classes: a generator made a context manager takes several times as long."""

import time
from types import TracebackType
from typing import TYPE_CHECKING

from hubserve.errors import HubError
from hubserve.gateway.inter_model_calls import ModelCalls, Wait
from hubserve.gateway.queued_request import Work
from hubserve.net.deadline_monitor import Sweeper

if TYPE_CHECKING:
    from hubserve.gateway.served_model import ServedModule


class InUse:
    """While anybody is in its ``with`` block, what it belongs to is not ended under them.

    Attributes:
        count: how many are.
    """

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> None:
        self.count += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.count -= 1


class Counted:
    """While admitted work is queued and answered.

    Args:
        module: whose it is.
        work: it.
        calls: told of it where a module made the request.
        deadlines: holds it until then.
    """

    __slots__ = ("_calls", "_came_at", "_deadlines", "_module", "_wait", "_work")

    def __init__(self, module: "ServedModule", work: Work, calls: ModelCalls, deadlines: Sweeper) -> None:
        self._module = module
        self._work = work
        self._calls = calls
        self._deadlines = deadlines
        self._wait: Wait | None = None

    def __enter__(self) -> None:
        self._module.requests += 1
        self._came_at = time.monotonic()
        try:
            self._wait = self._calls.begin(self._module, self._work)
        except HubError as error:
            self.__exit__(type(error), error, None)
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if isinstance(error, HubError):
            self._module.failures += 1
        if self._wait:
            self._calls.end(self._wait)
        statistics = self._module.statistics
        (statistics.success if kind is None else statistics.fail).add(time.monotonic() - self._came_at)
        self._deadlines.discard(self._work)
        whole = self._work.whole
        if whole is not None and whole.talk is not None:
            whole.talk.given_up(whole.key)
