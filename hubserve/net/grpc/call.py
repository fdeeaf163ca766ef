"""gRPC over HTTP/2: calls, as its published description of the protocol has them.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from hubserve.net.grpc.framing import SMALL_BYTES, Answer, Message, MessageReader, prefixed
from hubserve.net.grpc.refusal import Refusal
from hubserve.net.grpc.service import Head, Method, Service, make_head
from hubserve.net.grpc.status import RpcError, Status, status_block
from hubserve.net.http2.connection import Http2Connection
from hubserve.net.http2.endpoint import Endpoint
from hubserve.net.http2.frames import ErrorCode
from hubserve.net.http2.hpack_cache import literal, status
from hubserve.net.http2.streams import Stream

log = logging.getLogger("hubserve")

_HEAD = status(200) + literal(b"content-type", b"application/grpc") + literal(b"grpc-accept-encoding", b"identity,deflate,gzip")
_NO_CALL = b"this port speaks gRPC: POST with the content type application/grpc\n"
_ONE_MESSAGE = "the method takes one message, and none or several came"
_CUT_OFF = "the call ends within a message"
_OK = status_block(Status.OK, "")
#: so many requests of a connection are read beyond the limit for calls, to be told so
_MORE_STREAMS = 100
#: messages of a stream that are put together before they are read
_MOST_UNREAD = 128
#: a client that sends a message or takes an answer more slowly than this holds a call and memory for nothing
_SLOWEST_BYTES_PER_S = 4096


class Calls:
    """The calls in progress.

    Args:
        service: what answers them.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._open: set[Call] = set()

    def accept(self, stream: Stream, head: Head) -> None:
        """Begin to answer what a stream asks."""
        service = self._service
        method = service.methods.get(head.path)
        if head.refusal:
            fields = status(head.refusal) + literal(b"content-type", b"text/plain")
            stream.receiver = Refusal(stream, service, fields, _NO_CALL, status_block(Status.UNKNOWN, ""))
        elif method is None:
            self._refuse(stream, Status.UNIMPLEMENTED, f"there is no method '{head.path[:120]}' here")
        elif len(self._open) >= service.max_calls:
            text = f"the server has {len(self._open)} calls in progress, which is its limit (max_concurrency); try again later"
            self._refuse(stream, Status.RESOURCE_EXHAUSTED, text)
        else:
            self._open.add(Call(service, stream, head, method, self._open.discard))

    def _refuse(self, stream: Stream, code: Status, text: str) -> None:
        stream.receiver = Refusal(stream, self._service, b"", b"", _HEAD + status_block(code, text))


class Call:
    """One call; the receiver of its stream.

    Attributes:
        due: when it takes its client too long; see :class:`hubserve.net.deadline_monitor.DeadlineMonitor`.
        metadata: name -> value, of equal names the last.
        deadline: when its client gives it up, on the clock of ``time.monotonic``; None for never.
    """

    __slots__ = (
        "_coding",
        "_forget",
        "_has_ended",
        "_head_sent",
        "_held",
        "_held_answers",
        "_method",
        "_moved_bytes",
        "_reader",
        "_service",
        "_start",
        "_stream",
        "_task",
        "_unsent",
        "_waiter",
        "deadline",
        "due",
        "metadata",
    )

    def __init__(self, service: Service, stream: Stream, head: Head, method: Method, forget: Callable[["Call"], None]) -> None:
        self.metadata = head.metadata
        self._start = time.monotonic()
        self.deadline = None if head.timeout_s is None else self._start + head.timeout_s
        self._service = service
        self._stream = stream
        self._method = method
        self._forget = forget
        self._coding = head.coding
        most = _MOST_UNREAD if method.streams else 1
        self._reader = MessageReader(service.max_message_bytes, most, service.budget)
        self._held = 0
        self._moved_bytes = 0  # of a message or an answer, when it was looked at
        self._unsent = 0  # bytes of answers that the client has not taken
        self._held_answers = 0  # of those, accounted for
        self._has_ended = False
        self._head_sent = False
        self._waiter: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        stream.receiver = self
        self.due = 0.0 if method.streams else self._start + service.client_timeout_s
        service.deadlines.add(self)
        if method.streams:
            self._run(self._answer_stream())

    def _run(self, answer: Any) -> None:
        self._task = asyncio.get_running_loop().create_task(answer)
        self._task.add_done_callback(self._finish)

    # --- its stream's ---

    def add(self, data: bytes) -> None:
        """A part of the client's messages came."""
        try:
            self._reader.add(data)
        except Exception as error:
            self._fail(error)
        else:
            self._account(len(data))

    def room(self) -> memoryview | None:
        """Where the rest of a large message is to be put."""
        return self._reader.room()

    def filled(self, count: int) -> None:
        """It has been put there."""
        try:
            self._reader.filled(count)
        except Exception as error:
            self._fail(error)
        else:
            self._account(count)

    def _account(self, count: int) -> None:
        reader = self._reader
        if reader.complete and self._method.streams:
            self._held += count  # until they are read
            self._wake()
        else:
            self._stream.taken(count)
        if not self._method.streams:
            if reader.complete and not reader.is_between:
                self._fail(RpcError(Status.UNIMPLEMENTED, _ONE_MESSAGE))
        elif reader.complete or reader.is_between:
            self.due = 0.0  # it is not the client that is waited for
        elif not self.due:
            self._expect()

    def _expect(self) -> None:
        """From now on, the client is waited for."""
        self._start, self._moved_bytes = time.monotonic(), self._reader.received_bytes
        self.due = self._start + self._service.client_timeout_s

    def end(self) -> None:
        """The client has no more messages."""
        self._has_ended = True
        self.due = 0.0
        if self._method.streams:
            self._wake()
        elif self._reader.complete:
            self._run(self._answer_unary())
        else:
            self._fail(RpcError(Status.UNIMPLEMENTED, _ONE_MESSAGE) if self._reader.is_between else RpcError(Status.INTERNAL, _CUT_OFF))

    def lost(self) -> None:
        """The client has given the call up, or left."""
        if self._task:
            self._task.cancel()
        else:
            self._finish()

    def on_timeout(self) -> None:
        """The client is too slow."""
        is_sending = self._stream.sent_end
        moved = self._stream.sent_bytes if is_sending else self._reader.received_bytes
        now, timeout_s = time.monotonic(), self._service.client_timeout_s
        if moved - self._moved_bytes >= _SLOWEST_BYTES_PER_S * timeout_s:  # data received quickly before does not make up for a pause
            self._moved_bytes, self.due = moved, now + timeout_s
        elif is_sending:
            self._stream.reset()
        else:
            text = f"only {moved} bytes of a message came in {now - self._start:.0f} s; send it faster or raise 'client_timeout_s'"
            self._fail(RpcError(Status.DEADLINE_EXCEEDED, text))

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    # --- what answers it ---

    async def _answer_unary(self) -> None:
        try:
            answer = await self._method.answer(await self._next(), self)
            self.send(answer, _OK)
            await self._flush()
        except Exception as error:
            self._fail(error)

    async def _answer_stream(self) -> None:
        try:
            await self._method.answer(self)
            self._stream.send(b"" if self._head_sent else _HEAD, b"", _OK)
            await self._flush()
        except Exception as error:
            self._fail(error)

    async def read(self) -> Message | None:
        """The next message of a stream; None if the client has no more.

        Raises:
            RpcError: what comes is no message, or too long, or cannot be unpacked.
            HubError: there is no room for it now.
        """
        while not self._reader.complete:
            if self._has_ended:
                if not self._reader.is_between:
                    raise RpcError(Status.INTERNAL, _CUT_OFF)
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return await self._next()

    async def _next(self) -> Message:
        message, packed = self._reader.next()
        if self._held and not self._reader.complete:
            self._stream.taken(self._held)
            self._held = 0
            if not self._reader.is_between and not self._has_ended:
                self._expect()
        if not packed:
            return message
        if not self._coding:
            raise RpcError(Status.INTERNAL, "a message says that it is packed, and the call's headers do not say how (grpc-encoding)")
        return await self._service.unpack(message, self._coding)

    def send(self, message: Answer, end: bytes = b"", *, is_checked: bool = False) -> None:
        """Send a message, as soon as the client takes it.

        Args:
            message: in its parts.
            end: a block of fields that the call ends with; b"" while there may be more.
            is_checked: whether there is room for it; else it is looked for.
        Raises:
            HubError: it is large, and others hold all the memory that there is for answers.
        """
        size = sum(map(len, message))
        if size > SMALL_BYTES and not is_checked:
            self._service.budget.check_answer(size)
        parts = prefixed(message, size)
        last = parts.pop()
        head = b"" if self._head_sent else _HEAD
        self._head_sent = True
        for part in parts:
            self._stream.send(head, part, b"")
            head = b""
        self._stream.send(head, last, end)
        if self._stream.pending:
            self._hold_answer(size)

    def _hold_answer(self, size: int) -> None:
        """Account for an answer until its client has taken it."""
        self._unsent += size
        over = self._unsent - SMALL_BYTES - self._held_answers
        if over > 0:
            self._held_answers += over
            self._service.budget.hold_answer(over)

    def _release_answers(self) -> None:
        if self._held_answers:
            self._service.budget.release(self._held_answers)
        self._unsent = self._held_answers = 0

    @property
    def peer(self) -> str:
        """The client's address, without the port; "" if it is not known."""
        return self._stream.peer

    @property
    def is_waiting(self) -> bool:
        """Whether the client has not yet taken all that was sent."""
        return bool(self._stream.pending)

    @property
    def sent_bytes(self) -> int:
        """How much of what had to wait has been sent."""
        return self._stream.sent_bytes

    async def flushed(self) -> None:
        """Wait until it has; who waits is cancelled if the client gives the call up instead, or leaves."""
        await self._stream.flushed()
        self._release_answers()

    async def _flush(self) -> None:
        """Wait until the client takes what was sent, though not for ever."""
        if self._stream.pending:
            self._stream.receiver = None  # whatever the client says now, it makes no difference to this
            self._moved_bytes = self._stream.sent_bytes
            self.due = time.monotonic() + self._service.client_timeout_s
            await self._stream.flushed()

    def _fail(self, error: Exception) -> None:
        """End the call with a status."""
        code, text = (error.status, error.text) if isinstance(error, RpcError) else self._service.refuse(error)
        self._stream.receiver = None  # the status may have to wait, and nothing more is to be made of what comes meanwhile
        if self._stream.drop_pending():
            self._head_sent = False
        self._stream.send(b"", b"", (b"" if self._head_sent else _HEAD) + status_block(code, text))
        if self._task is None:
            self._finish()
        elif self._task is not asyncio.current_task():
            self._task.cancel()

    def _finish(self, task: "asyncio.Task[None] | None" = None) -> None:
        self.due = 0.0
        self._reader.close()
        self._release_answers()
        self._service.deadlines.discard(self)
        self._forget(self)
        if not self._stream.sent_end:  # what answers it was cancelled from within, or failed at failing
            self._stream.reset(ErrorCode.INTERNAL_ERROR)
        if task and not task.cancelled() and (error := task.exception()):
            log.error("an unexpected error while answering a gRPC call", exc_info=error)


def endpoint_of(service: Service) -> Endpoint[Head]:
    """What connections of a server of this service share."""
    most = service.max_calls + _MORE_STREAMS
    return Endpoint(Http2Connection, make_head, Calls(service).accept, service.budget, service.deadlines, service.client_timeout_s, most)
