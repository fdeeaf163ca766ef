"""gRPC calls over HTTP/2, by its published protocol description.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from hubserve.access.gate import Gate
from hubserve.access.keys import key_in
from hubserve.errors import HubError
from hubserve.net.admission import SLOWEST_BYTES_PER_S, SMALL_BYTES
from hubserve.net.grpc.framing import Answer, Message, MessageReader, prefixed
from hubserve.net.grpc.refusal import Refusal
from hubserve.net.grpc.service import Head, Method, Service, make_head
from hubserve.net.grpc.status import SERVER_ERRORS, RpcError, Status, status_block
from hubserve.net.http2.connection import Http2Connection
from hubserve.net.http2.endpoint import Endpoint
from hubserve.net.http2.frames import ErrorCode
from hubserve.net.http2.hpack_cache import literal, status
from hubserve.net.http2.streams import Stream
from hubserve.telemetry.request_record import CURRENT, RequestRecord

log = logging.getLogger("hubserve")

_HEAD = status(200) + literal(b"content-type", b"application/grpc") + literal(b"grpc-accept-encoding", b"identity,deflate,gzip")
_NOT_GRPC = b"this port speaks gRPC: POST with the content type application/grpc\n"
_ONE_MESSAGE = "the method takes one message; none or several were sent"
_CUT_OFF = "the call ended within a message"
_OK = status_block(Status.OK, "")
_OK_NAME = Status.OK.name
#: requests of a connection that are read beyond the limit for calls, to be refused with a reason
_MORE_STREAMS = 100
#: messages of a stream that are joined before they are read
_MOST_UNREAD = 128


class Calls:
    """Calls in progress.

    Args:
        service: answers them.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._open: set[Call] = set()

    def accept(self, stream: Stream, head: Head) -> None:
        """Start to answer the request of a stream."""
        service = self._service
        method = service.methods.get(head.path)
        if head.refusal:
            service.telemetry.refused["not_grpc"] += 1
            fields = status(head.refusal) + literal(b"content-type", b"text/plain")
            stream.receiver = Refusal(stream, service, fields, _NOT_GRPC, status_block(Status.UNKNOWN, ""))
        elif method is None:
            self._refuse(stream, Status.UNIMPLEMENTED, f"unknown method '{head.path[:120]}'")
        elif len(self._open) >= service.max_calls:
            text = f"the server has {len(self._open)} calls in progress, which is its limit (max_concurrency); try again later"
            self._refuse(stream, Status.RESOURCE_EXHAUSTED, text)
        elif service.gate is None:
            self._open.add(Call(service, stream, head, method, self._open.discard))
        else:
            self._accept_key(service.gate, stream, head, method)

    def _accept_key(self, gate: Gate, stream: Stream, head: Head, method: Method) -> None:
        """Start to answer a call, or refuse it, as its client's key permits."""
        service = self._service
        key = key_in(head.metadata.get("x-api-key", ""), head.metadata.get("authorization", ""))
        try:
            grant = gate.admit(key, method.need, is_stream=method.streams)
        except HubError as error:
            code, text = service.refuse(error)
            stream.receiver = Refusal(stream, service, b"", b"", _HEAD + status_block(code, text))
            record = service.telemetry.begin()
            _describe(record, service, stream, head)
            record.status, record.error, record.message = code.name, error.code, text
            service.telemetry.end(record)
            return
        call = Call(service, stream, head, method, self._open.discard)
        call.record.access = grant
        self._open.add(call)

    def _refuse(self, stream: Stream, code: Status, text: str) -> None:
        self._service.telemetry.refused[f"grpc_{code.name.lower()}"] += 1
        stream.receiver = Refusal(stream, self._service, b"", b"", _HEAD + status_block(code, text))


class Call:
    """One call; the receiver of its stream.

    Attributes:
        due: when to check the client's pace; see :class:`hubserve.net.deadline_monitor.DeadlineMonitor`.
        metadata: name -> value; the last one if a name is repeated.
        deadline: the client's, on the clock of ``time.monotonic``; None for none.
        record: of the call.
    """

    __slots__ = (
        "_accounted_bytes",
        "_encoding",
        "_has_ended",
        "_head_sent",
        "_held_bytes",
        "_method",
        "_moved_bytes",
        "_on_finished",
        "_reader",
        "_service",
        "_start",
        "_stream",
        "_task",
        "_unread_bytes",
        "_waiter",
        "deadline",
        "due",
        "metadata",
        "record",
    )

    def __init__(self, service: Service, stream: Stream, head: Head, method: Method, on_finished: Callable[["Call"], None]) -> None:
        self.metadata = head.metadata
        self.record = record = service.telemetry.begin()
        _describe(record, service, stream, head)
        if service.telemetry.traces is not None:
            service.telemetry.traces.begin(record, head.metadata.get("traceparent"), head.metadata.get("tracestate"))
        self._start = time.monotonic()
        self.deadline = None if head.timeout_s is None else self._start + head.timeout_s
        self._service = service
        self._stream = stream
        self._method = method
        self._on_finished = on_finished
        self._encoding = head.encoding
        most = _MOST_UNREAD if method.streams else 1
        self._reader = MessageReader(service.max_message_bytes, most, service.budget)
        self._held_bytes = 0
        self._moved_bytes = 0  # of a message or a response, at the last check
        self._unread_bytes = 0  # of responses, by the client
        self._accounted_bytes = 0  # of those
        self._has_ended = False
        self._head_sent = False
        self._waiter: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        stream.receiver = self
        self.due = 0.0 if method.streams else self._start + service.client_timeout_s
        service.deadlines.add(self)
        if method.has_requests:
            service.telemetry.begin_stream(record)
        if method.streams:
            self._run(self._answer_stream())

    def _run(self, answer: Any) -> None:
        CURRENT.set(self.record)  # the task gets a copy of this context
        self._task = asyncio.get_running_loop().create_task(answer)
        CURRENT.set(None)
        self._task.add_done_callback(self._finish)

    # --- for its stream ---

    def feed(self, data: bytes) -> None:
        """Receive a part of the client's messages."""
        try:
            self._reader.feed(data)
        except Exception as error:
            self._fail(error)
        else:
            self._account(len(data))

    def receive_buffer(self) -> memoryview | None:
        """Return the buffer for the rest of a large message."""
        return self._reader.receive_buffer()

    def buffer_filled(self, count: int) -> None:
        """Receive ``count`` bytes that were read into :meth:`receive_buffer`."""
        try:
            self._reader.buffer_filled(count)
        except Exception as error:
            self._fail(error)
        else:
            self._account(count)

    def _account(self, count: int) -> None:
        self.record.received_bytes += count
        reader = self._reader
        if reader.complete and self._method.streams:
            self._held_bytes += count  # until the messages are read
            self._wake()
        else:
            self._stream.credit(count)
        if not self._method.streams:
            if reader.complete and not reader.is_between:
                self._fail(RpcError(Status.UNIMPLEMENTED, _ONE_MESSAGE))
        elif reader.complete or reader.is_between:
            self.due = 0.0  # the call does not wait for the client
        elif not self.due:
            self._wait_for_client()

    def _wait_for_client(self) -> None:
        """Start to watch the client's pace."""
        self._start, self._moved_bytes = time.monotonic(), self._reader.received_bytes
        self.due = self._start + self._service.client_timeout_s

    def end(self) -> None:
        """Handle the end of the client's messages."""
        self._has_ended = True
        self.due = 0.0
        if self.record.trace is not None:
            self.record.trace.received_at = time.monotonic()
        if self._method.streams:
            self._wake()
        elif self._reader.complete:
            self._run(self._answer_unary())
        else:
            self._fail(RpcError(Status.UNIMPLEMENTED, _ONE_MESSAGE) if self._reader.is_between else RpcError(Status.INTERNAL, _CUT_OFF))

    def lost(self) -> None:
        """Handle that the client cancelled the call, or disconnected."""
        if self._task:
            self._task.cancel()
        else:
            self._finish()

    def on_timeout(self) -> None:
        """End the call unless the client keeps its pace."""
        is_sending = self._stream.sent_end
        moved = self._stream.sent_bytes if is_sending else self._reader.received_bytes
        now, timeout_s = time.monotonic(), self._service.client_timeout_s
        if moved - self._moved_bytes >= SLOWEST_BYTES_PER_S * timeout_s:  # data received quickly before does not make up for a pause
            self._moved_bytes, self.due = moved, now + timeout_s
        elif is_sending:
            self._stream.reset()
        else:
            text = f"only {moved} bytes of a message arrived in {now - self._start:.0f} s; send it faster or raise 'client_timeout_s'"
            self._fail(RpcError(Status.DEADLINE_EXCEEDED, text))

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    # --- for its method ---

    async def _answer_unary(self) -> None:
        try:
            answer = await self._method.answer(await self._next(), self)
            self.send(answer, _OK)
            self.record.status = _OK_NAME
            await self._flush()
        except Exception as error:
            self._fail(error)

    async def _answer_stream(self) -> None:
        try:
            await self._method.answer(self)
            self._stream.send(b"" if self._head_sent else self._initial(), b"", _OK)
            self.record.status = _OK_NAME
            await self._flush()
        except Exception as error:
            self._fail(error)

    async def read(self) -> Message | None:
        """Read the next message of a stream; return None at the end.

        Raises:
            RpcError: the message is malformed or too long, or cannot be decompressed.
            HubError: the server has no memory for it now.
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
        message, compressed = self._reader.next()
        if self._held_bytes and not self._reader.complete:
            self._stream.credit(self._held_bytes)
            self._held_bytes = 0
            if not self._reader.is_between and not self._has_ended:
                self._wait_for_client()
        if not compressed:
            return message
        if not self._encoding:
            raise RpcError(Status.INTERNAL, "compressed message in a call without 'grpc-encoding'")
        return await self._service.decompress(message, self._encoding)

    def send(self, message: Answer, end: bytes = b"", *, is_checked: bool = False) -> None:
        """Send a message, as soon as the client accepts it.

        Args:
            message: in its parts.
            end: header block of the trailers; b"" if more messages may follow.
            is_checked: whether the budget was checked already.
        Raises:
            HubError: the message is large, and others hold all memory for responses.
        """
        size = sum(map(len, message))
        self.record.sent_bytes += size
        if size > SMALL_BYTES and not is_checked:
            self._service.budget.check_answer(size)
        parts = prefixed(message, size)
        last = parts.pop()
        head = b"" if self._head_sent else self._initial()
        self._head_sent = True
        for part in parts:
            self._stream.send(head, part, b"")
            head = b""
        self._stream.send(head, last, end)
        if self._stream.pending:
            self._account_answer(size)

    def _account_answer(self, size: int) -> None:
        """Account for a response until the client has read it."""
        self._unread_bytes += size
        excess = self._unread_bytes - SMALL_BYTES - self._accounted_bytes
        if excess > 0:
            self._accounted_bytes += excess
            self._service.budget.hold_answer(excess)

    def _release_answers(self) -> None:
        if self._accounted_bytes:
            self._service.budget.release(self._accounted_bytes)
        self._unread_bytes = self._accounted_bytes = 0

    @property
    def peer(self) -> str:
        """The client's address, without the port; "" if unknown."""
        return self._stream.peer

    @property
    def is_waiting(self) -> bool:
        """Return True if parts of the response are queued."""
        return bool(self._stream.pending)

    @property
    def sent_bytes(self) -> int:
        """Bytes sent of those that were queued."""
        return self._stream.sent_bytes

    async def flushed(self) -> None:
        """Wait until all data is sent.

        Raises:
            asyncio.CancelledError: the client cancelled the call, or disconnected.
        """
        await self._stream.flushed()
        self._release_answers()

    async def _flush(self) -> None:
        """Wait until all data is sent, as long as the client keeps its pace."""
        if self._stream.pending:
            self._stream.receiver = None  # further messages of the client make no difference now
            self._moved_bytes = self._stream.sent_bytes
            self.due = time.monotonic() + self._service.client_timeout_s
            await self._stream.flushed()

    def _fail(self, error: Exception) -> None:
        """End the call with a status."""
        code, text = (error.status, error.text) if isinstance(error, RpcError) else self._refusal(error)
        self.record.status = code.name
        if isinstance(error, HubError):
            self.record.error, self.record.message = error.code, text
        self._stream.receiver = None  # the status may be queued, and what arrives meanwhile is discarded
        if self._stream.drop_pending():
            self._head_sent = False
        if self._head_sent:
            named = _id_field(self.record) if code in SERVER_ERRORS else b""
        else:
            if code in SERVER_ERRORS:
                self.record.identify()
            named = self._initial()
        self._stream.send(b"", b"", named + status_block(code, text))
        if self._task is None:
            self._finish()
        elif self._task is not asyncio.current_task():
            self._task.cancel()

    def _refusal(self, error: Exception) -> tuple[Status, str]:
        """Return the status and text of an error; lines of the log about it have the request's id, whatever task this runs in."""
        before = CURRENT.set(self.record)
        try:
            return self._service.refuse(error)
        finally:
            CURRENT.reset(before)

    def _initial(self) -> bytes:
        """Return the header block of the response, with the request's id if it is known."""
        head = _HEAD + _id_field(self.record) if self.record.request_id else _HEAD
        return head if self.record.trace is None else head + literal(b"traceparent", self.record.trace.responding().encode())

    def _finish(self, task: "asyncio.Task[None] | None" = None) -> None:
        self.due = 0.0
        self._reader.close()
        self._release_answers()
        self._service.deadlines.discard(self)
        self._on_finished(self)
        if self.record.access is not None:
            self.record.access.end()
        telemetry = self._service.telemetry
        (telemetry.end_stream if self._method.has_requests else telemetry.end)(self.record)
        if not self._stream.sent_end:  # the method was cancelled from within, or _fail failed
            self._stream.reset(ErrorCode.INTERNAL_ERROR)
        if task and not task.cancelled() and (error := task.exception()):
            about = {"request_id": self.record.identify()}
            log.error("an unexpected error while answering a gRPC call", exc_info=error, extra=about)


def _describe(record: RequestRecord, service: Service, stream: Stream, head: Head) -> None:
    """Note in a record what the head of its call says."""
    record.protocol, record.method, record.path, record.peer = "grpc", "CALL", head.path, stream.peer
    if stream.client_certificate:
        record.client_certificate = stream.client_certificate
    if service.client_of:
        record.peer = service.client_of(stream.peer, head.metadata.get("x-forwarded-for", ""))
    sent_id = head.metadata.get("x-request-id")
    if sent_id is not None:
        record.accept_id(sent_id)


def _id_field(record: RequestRecord) -> bytes:
    return literal(b"x-request-id", record.identify().encode())


def endpoint_of(service: Service) -> Endpoint[Head]:
    """Return the endpoint that serves a service over HTTP/2."""
    max_streams = service.max_calls + _MORE_STREAMS
    return Endpoint(
        Http2Connection, make_head, Calls(service).accept, service.budget, service.deadlines, service.client_timeout_s, max_streams
    )
