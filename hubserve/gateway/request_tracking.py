"""Count the requests in progress. Plain classes: a generator made a context manager takes several times as long."""

import time
from types import TracebackType

from hubserve.errors import HubError
from hubserve.gateway.deadlock_detection import Callee, DeadlockDetector, Wait
from hubserve.gateway.queued_request import QueuedRequest
from hubserve.gateway.statistics import ModuleStatistics
from hubserve.net.deadline_monitor import DeadlineMonitor


class InUse:
    """Counter of the ``with`` blocks in which a module is used; it is not ended while there are any.

    Attributes:
        count: how many there are.
    """

    __slots__ = ("count",)

    def __init__(self) -> None:
        self.count = 0

    def __enter__(self) -> None:
        self.count += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.count -= 1


class RequestTracker:
    """A ``with`` block around queueing and answering one request, which counts it and cancels it if it is left early.

    Args:
        module: that answers it.
        statistics: of the module.
        work: the request.
        deadlocks: checks it if another module made it.
        deadlines: forgets it when it ends.
    """

    __slots__ = ("_came_at", "_deadlines", "_deadlocks", "_module", "_statistics", "_wait", "_work")

    def __init__(
        self, module: Callee, statistics: ModuleStatistics, work: QueuedRequest, deadlocks: DeadlockDetector, deadlines: DeadlineMonitor
    ) -> None:
        self._module = module
        self._statistics = statistics
        self._work = work
        self._deadlocks = deadlocks
        self._deadlines = deadlines
        self._wait: Wait | None = None

    def __enter__(self) -> None:
        self._statistics.requests += 1
        self._came_at = time.monotonic()
        try:
            self._wait = self._deadlocks.begin(self._module, self._work)
        except HubError as error:
            self.__exit__(type(error), error, None)
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        statistics = self._statistics
        if isinstance(error, HubError):
            statistics.failures += 1
        if self._wait:
            self._deadlocks.end(self._wait)
        if error is not None:
            statistics.add_failure(error)
        statistics.add_ended(self._came_at, has_succeeded=kind is None)
        self._deadlines.discard(self._work)
        if self._work.trace is not None:
            self._work.trace.end(error)
        raw = self._work.raw
        if raw is not None and raw.channel is not None:
            raw.channel.cancel(raw.key)
