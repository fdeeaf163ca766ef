"""The health service ``grpc.health.v1.Health``: report if the server is ready, once or at every change."""

import asyncio
from collections.abc import Callable, Collection
from typing import Any

from grpc_health.v1 import health_pb2

from hubserve.errors import DeadlineExceeded, InvalidInput, Unavailable
from hubserve.net.grpc.call import Call
from hubserve.protocols.open_inference.core.errors import NoSuchResource
from hubserve.protocols.open_inference.grpc.call_errors import check_small
from hubserve.protocols.open_inference.grpc.codec import parse
from hubserve.protocols.open_inference.grpc.long_calls import LongCalls

SERVICE = "grpc.health.v1.Health"

_STATUS = health_pb2.HealthCheckResponse
_MAX_WATCHERS = 100
_POLL_S = 0.2


class Health:
    """Handlers of the health service.

    Args:
        is_ready: returns whether the server is ready.
        services: names of services with this status.
        timeout_s: time in which a client of ``Watch`` must send its request.
    """

    def __init__(self, is_ready: Callable[[], bool], services: Collection[str], timeout_s: float) -> None:
        self._is_ready = is_ready
        self._services = services
        self._timeout_s = timeout_s
        self._calls = LongCalls(_MAX_WATCHERS, "Health/Watch")
        self._changed = asyncio.Event()
        self._polling: asyncio.Task[None] | None = None
        self._watchers = 0

    async def check(self, request: Any) -> Any:
        """Answer ``Check``.

        Raises:
            NoSuchResource: the service is unknown.
        """
        if request.service not in self._services:
            known = "' or '".join(self._services)
            raise NoSuchResource(f"the service '{request.service[:80]}' is unknown here; ask for '{known}'")
        return _STATUS(status=self._status())

    def _status(self) -> int:
        return int(_STATUS.SERVING if self._is_ready() else _STATUS.NOT_SERVING)

    async def watch(self, call: Call) -> None:
        """Answer ``Watch``: send the status now and after every change.

        As the protocol requires, an unknown service can be watched, too.

        Raises:
            HubError: too many calls watch, no request was received, or the server is being stopped.
        """
        with self._calls.open():
            service = await self._service(call)
            self._watchers += 1
            self._polling = self._polling or asyncio.create_task(self._poll())
            try:
                await self._follow(call, is_known=service in self._services)
            finally:
                self._watchers -= 1

    async def _service(self, call: Call) -> str:
        try:
            data = await asyncio.wait_for(self._calls.wait(call.read()), self._timeout_s)
        except (TimeoutError, asyncio.TimeoutError):
            raise DeadlineExceeded(f"no request was received in {self._timeout_s:.0f} s; send the service to watch") from None
        if data is None:
            raise InvalidInput("no request was received; send the service to watch")
        check_small(data)
        return str(parse(health_pb2.HealthCheckRequest, data).service)

    async def _follow(self, call: Call, *, is_known: bool) -> None:
        sent = None
        while True:
            changed = self._changed
            status = self._status() if is_known else _STATUS.SERVICE_UNKNOWN
            if status != sent:
                call.send([_STATUS(status=status).SerializeToString()])
                sent = status
            try:
                await self._calls.wait(call.flushed())  # a client that reads slowly gets only the latest status
                await self._calls.wait(changed.wait())
            except Unavailable:
                if is_known and sent != _STATUS.NOT_SERVING:
                    call.send([_STATUS(status=_STATUS.NOT_SERVING).SerializeToString()])
                raise

    async def _poll(self) -> None:
        """Wake the watching calls at every change of status, while there are any."""
        last = self._status()
        while self._watchers:
            await asyncio.sleep(_POLL_S)
            now = self._status()
            if now != last:
                last = now
                self._changed.set()
                self._changed = asyncio.Event()
        self._polling = None

    def close(self) -> None:
        """End every watch, because the server is being stopped."""
        self._calls.close()
        if self._polling:
            self._polling.cancel()
