"""gRPC over HTTP/2: calls, as its published description of the protocol has them.

https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hubserve.http2.connection import Http2Connection
from hubserve.http2.endpoint import Endpoint
from hubserve.http2.fields import literal, status
from hubserve.http2.frames import ErrorCode
from hubserve.http2.messages import Answer, Budget, Message, MessageReader, prefixed
from hubserve.http2.rules import Field
from hubserve.http2.status import RpcError, Status, status_block
from hubserve.http2.streams import Stream
from hubserve.serving.sweeper import Sweeper

log = logging.getLogger("hubserve")

_HEAD = status(200) + literal(b"content-type", b"application/grpc") + literal(b"grpc-accept-encoding", b"identity,deflate,gzip")
_NO_CALL = b"this port speaks gRPC: POST with the content type application/grpc\n"
_ONE_MESSAGE = "the method takes one message, and none or several came"
_CUT_OFF = "the call ends within a message"
_OK = status_block(Status.OK, "")
_TIMEOUT = re.compile(rb"(\d{1,8})([HMSmun])", re.ASCII)
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
#: so many requests of a connection are read beyond the limit for calls, to be told so
_MORE_STREAMS = 100
#: so long, and for so much, the end of a request is waited for that is refused
_PATIENCE_S = 0.5
_MUCH_BYTES = 64 << 10
#: messages of a stream that are put together before they are read
_MOST_UNREAD = 128
#: a client that sends a message more slowly than this holds a call and memory for nothing
_SLOWEST_BYTES_PER_S = 4096


@dataclass(frozen=True, slots=True)
class Head:
    """What a call's headers say.

    Attributes:
        path: service and method.
        metadata: name -> value, of equal names the last.
        timeout_s: how long the client waits; None for ever.
        coding: how packed messages are packed; "" if none is.
        refusal: the HTTP status that answers what is no call; 0 if it is one.
    """

    path: str
    metadata: Mapping[str, str]
    timeout_s: float | None
    coding: str
    refusal: int


def make_head(fields: list[Field]) -> Head:
    """Read the fields of a request."""
    metadata = {name.decode("latin-1"): value.decode("latin-1") for name, value in fields}
    refusal = 0
    if metadata.get(":method") != "POST":
        refusal = 405
    elif not re.match(r"application/grpc($|[+;])", metadata.get("content-type", "")):
        refusal = 415
    timeout = _TIMEOUT.fullmatch(metadata.get("grpc-timeout", "").encode("latin-1"))
    timeout_s = int(timeout[1]) * _UNITS[timeout[2]] if timeout else None
    coding = metadata.get("grpc-encoding", "")
    return Head(metadata.get(":path", ""), metadata, timeout_s, "" if coding == "identity" else coding, refusal)


@dataclass(frozen=True, slots=True)
class Method:
    """What answers the calls of one method.

    Attributes:
        answer: of a unary one, takes the message and the call and gives the answer's message in its parts; of a stream, takes the call.
        streams: whether the call is a stream of messages in both directions.
    """

    answer: Callable[..., Awaitable[Any]]
    streams: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """What answers calls.

    Attributes:
        methods: path -> method.
        max_calls: how many may be in progress at once.
        max_message_bytes: the longest message of a client.
        client_timeout_s: how long a client may take for a message beyond what its length explains, and to take an answer.
        budget: accounts for messages that are not complete.
        sweeper: looks after what may become due.
        unpack: gives a packed message plain; takes the message and the name of its coding.
        refuse: says which status and text answer an error.
    """

    methods: Mapping[str, Method]
    max_calls: int
    max_message_bytes: int
    client_timeout_s: float
    budget: Budget
    sweeper: Sweeper
    unpack: Callable[[Message, str], Awaitable[Message]]
    refuse: Callable[[Exception], tuple[Status, str]]


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
            stream.receiver = _Refusal(stream, service, fields, _NO_CALL, status_block(Status.UNKNOWN, ""))
        elif method is None:
            self._refuse(stream, Status.UNIMPLEMENTED, f"there is no method '{head.path[:120]}' here")
        elif len(self._open) >= service.max_calls:
            text = f"the server has {len(self._open)} calls in progress, which is its limit (max_concurrency); try again later"
            self._refuse(stream, Status.RESOURCE_EXHAUSTED, text)
        else:
            self._open.add(Call(service, stream, head, method, self._open.discard))

    def _refuse(self, stream: Stream, code: Status, text: str) -> None:
        stream.receiver = _Refusal(stream, self._service, b"", b"", _HEAD + status_block(code, text))


class _Refusal:
    """A request that is answered without being read; the receiver of its stream.

    It is answered once all of it is here, or much, or it takes long: some clients go wrong if they get their answer while they still send.

    Args:
        stream: the request's.
        service: what it was for.
        answer: what is sent, as :meth:`Stream.send` has it.

    Attributes:
        due: when it takes long; see :class:`hubserve.serving.sweeper.Sweeper`.
    """

    def __init__(self, stream: Stream, service: Service, *answer: bytes) -> None:
        self.due = time.monotonic() + _PATIENCE_S
        self._stream = stream
        self._sweeper = service.sweeper
        self._answer = answer
        self._came_bytes = 0
        self._sweeper.add(self)

    def add(self, data: bytes) -> None:
        """A part of the request came."""
        self._stream.taken(len(data))
        self._came_bytes += len(data)
        if self._came_bytes > _MUCH_BYTES:
            self.end()

    def room(self) -> None:
        """Nowhere."""

    def filled(self, count: int) -> None:
        """Not called: there is no room."""

    def end(self) -> None:
        """Answer."""
        self.lost()
        self._stream.receiver = None
        self._stream.send(*self._answer)

    def lost(self) -> None:
        """The client has given the request up, or left."""
        self._sweeper.discard(self)

    on_due = end


class Call:
    """One call; the receiver of its stream.

    Attributes:
        due: when it takes its client too long; see :class:`hubserve.serving.sweeper.Sweeper`.
        metadata: name -> value, of equal names the last.
        deadline: when its client gives it up, on the clock of ``time.monotonic``; None for never.
    """

    __slots__ = (
        "_coding",
        "_forget",
        "_has_ended",
        "_head_sent",
        "_held",
        "_method",
        "_reader",
        "_sent_bytes",
        "_service",
        "_start",
        "_stream",
        "_task",
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
        self._sent_bytes = 0  # when it was looked at
        self._has_ended = False
        self._head_sent = False
        self._waiter: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        stream.receiver = self
        self.due = 0.0 if method.streams else self._start + service.client_timeout_s
        service.sweeper.add(self)
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
        self._reader.filled(count)
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
        self._start = time.monotonic()
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

    def on_due(self) -> None:
        """The client is too slow."""
        if self._stream.sent_end:  # and is not taken
            if self._stream.sent_bytes > self._sent_bytes:
                self._sent_bytes = self._stream.sent_bytes
                self.due = time.monotonic() + self._service.client_timeout_s
            else:
                self._stream.reset()
            return
        self.due = self._start + self._service.client_timeout_s + self._reader.received_bytes / _SLOWEST_BYTES_PER_S
        if self.due <= time.monotonic():
            waited_s = time.monotonic() - self._start
            came = self._reader.received_bytes
            text = f"only {came} bytes of a message came in {waited_s:.0f} s; send it faster or raise 'client_timeout_s'"
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

    def send(self, message: Answer, end: bytes = b"") -> None:
        """Send a message, as soon as the client takes it.

        Args:
            message: in its parts.
            end: a block of fields that the call ends with; b"" while there may be more.
        """
        parts = prefixed(message)
        last = parts.pop()
        head = b"" if self._head_sent else _HEAD
        self._head_sent = True
        for part in parts:
            self._stream.send(head, part, b"")
            head = b""
        self._stream.send(head, last, end)

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

    async def _flush(self) -> None:
        """Wait until the client takes what was sent, though not for ever."""
        if self._stream.pending:
            self._stream.receiver = None  # whatever the client says now, it makes no difference to this
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
        self._service.sweeper.discard(self)
        self._forget(self)
        if not self._stream.sent_end:  # what answers it was cancelled from within, or failed at failing
            self._stream.reset(ErrorCode.INTERNAL_ERROR)
        if task and not task.cancelled() and (error := task.exception()):
            log.error("an unexpected error while answering a gRPC call", exc_info=error)


def endpoint_of(service: Service) -> Endpoint[Head]:
    """What connections of a server of this service share."""
    most = service.max_calls + _MORE_STREAMS
    return Endpoint(Http2Connection, make_head, Calls(service).accept, service.sweeper, service.client_timeout_s, most)
