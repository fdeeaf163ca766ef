"""One request of a WSGI server's thread, answered by an ASGI application on an event loop elsewhere.

The thread waits for orders: to read the next part of the body, or to take the answer. So a body is read only once the application asks
for it, never more of it than one part ahead, and what is refused is not read at all.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, NamedTuple

from hubserve.errors import drop_frames
from hubserve.net.http1.request_cycle import UNEXPECTED, Taker

log = logging.getLogger("hubserve")

_PART_BYTES = 256 << 10
#: a body of up to this is read at once: that costs less than another turn between the threads
_SMALL_BYTES = 64 << 10
#: these concern one connection, which is the WSGI server's affair
_OF_THE_CONNECTION = (b"connection",)
_JSON = [("content-type", "application/json")]
_INCOMPLETE = (
    b'{"status":"101","msg":"the request\'s body ended too early: its sender has left, or another part of this application '
    b'has read it already","results":""}'
)
_ENDING = b'{"status":"101","msg":"the application is ending; try again later","results":""}'

Read = Callable[[int], bytes]


class Answer(NamedTuple):
    """What a WSGI server sends."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class WsgiExchange:
    """See the module's text. Protocols use it as they use :class:`hubserve.net.http1.request_cycle.Exchange`.

    Args:
        scope: ASGI's; the exchange adds itself to it.
        length: of the body, where it was announced.
        read: reads up to so many bytes of the body, ``b""`` at its end; an OSError or ValueError means that it broke off.

    Attributes:
        gone: whether the client has left: WSGI does not tell, so never.
        cancel_when_gone: of no use here, for the same reason.
        task: the task that answers.
        announced_bytes: the body's length if it was announced; else 0.
    """

    def __init__(self, scope: dict[str, Any], length: int | None, read: Read) -> None:
        self.announced_bytes = length or 0
        self.gone = False
        self.cancel_when_gone = False
        self.task: asyncio.Task[None] | None = None
        self._scope = {**scope, "extensions": {"hubserve": self}}
        self._read = read
        self._left_bytes = length
        self._orders: SimpleQueue[asyncio.Future[bytes | None] | Answer] = SimpleQueue()
        self._early: bytes | None = None
        self._status = 0
        self._headers: list[tuple[str, str]] = []
        self._parts: list[bytes] = []

    # --- in the WSGI server's thread ---

    def prepare(self) -> None:
        """Read a small body while nobody waits for it."""
        if self._left_bytes is not None and self._left_bytes <= _SMALL_BYTES:
            self._early = self._next_part()

    def wait(self) -> Answer:
        """Do what the application orders until it has answered."""
        while True:
            order = self._orders.get()
            if isinstance(order, Answer):
                return order
            part = self._next_part()
            with contextlib.suppress(RuntimeError):  # the loop has ended; its last order is the answer
                order.get_loop().call_soon_threadsafe(_hand_over, order, part)

    def _next_part(self) -> bytes | None:
        """Up to 256 KiB of the body; ``b""`` at its end, None if it broke off."""
        wanted = _PART_BYTES if self._left_bytes is None else min(_PART_BYTES, self._left_bytes)
        if not wanted:
            return b""
        try:
            part = self._read(wanted)
        except (OSError, ValueError):
            return None
        if self._left_bytes is not None:
            self._left_bytes -= len(part)
            if not part:
                return None
        return part

    # --- on the loop ---

    async def run(self, app: Any) -> None:
        """Have the application answer; whatever happens, the thread gets an answer."""
        answer = Answer(503, [*_JSON, ("retry-after", "1")], _ENDING)  # for a task that is cancelled
        try:
            await app(self._scope, self._receive, self._send)
            # without an answer, the protocol takes the client to have left
            answer = Answer(self._status, self._headers, b"".join(self._parts)) if self._status else Answer(400, _JSON, _INCOMPLETE)
        except Exception as error:
            log.exception("an unexpected error while answering %s %s", self._scope["method"], self._scope["path"])
            drop_frames(error)
            answer = Answer(500, _JSON, UNEXPECTED)
        finally:
            self._orders.put(answer)
            del self._scope["extensions"]  # a cycle, which only the garbage collector would end

    def take_body(self) -> bytes | None:
        """The body, if all of it has been read; else None."""
        if self._left_bytes != 0 or self._early is None:
            return None
        body, self._early = self._early, None
        return body

    async def read_into(self, taker: Taker) -> bool:
        """Have each part of the body handed over.

        Args:
            taker: is given each part; what it raises is raised here.
        Returns:
            Whether the whole body came.
        """
        part, self._early = self._early, None
        while True:
            if part is None:
                part = await self._order_part()
            if not part:
                return part is not None
            taker.add(part)
            if self._left_bytes == 0:
                return True
            part = None

    async def _order_part(self) -> bytes | None:
        ordered: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._orders.put(ordered)
        return await ordered

    async def _receive(self) -> dict[str, Any]:
        part = self._early or (await self._order_part() if self._left_bytes != 0 else b"")
        self._early = None
        return {"type": "http.request", "body": part or b"", "more_body": bool(part) and self._left_bytes != 0}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = [(name, value) for name, value in message.get("headers", ()) if name.lower() not in _OF_THE_CONNECTION]
            self._headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
        elif message["type"] == "http.response.body":
            self._parts.append(bytes(message.get("body", b"")))


def _hand_over(order: "asyncio.Future[bytes | None]", part: bytes | None) -> None:
    if not order.done():  # its task may have been cancelled meanwhile
        order.set_result(part)
