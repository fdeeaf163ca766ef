"""Server of small gRPC methods in a thread of its own, which checks that its calls leave nothing behind."""

import asyncio
import contextlib
import gc
import threading
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import uvloop

from hubserve.net.connection_limits import Connections
from hubserve.net.deadline_monitor import DeadlineMonitor
from hubserve.net.grpc.call import Call, endpoint_of
from hubserve.net.grpc.framing import Answer, Message
from hubserve.net.grpc.service import Method, Service
from hubserve.net.grpc.status import RpcError, Status
from hubserve.net.http2.connection import Http2Connection
from hubserve.net.http2.frames import ErrorCode
from hubserve.net.http2.streams import Stream
from hubserve.net.tls.listener import TlsListener
from hubserve.wire.certificates import ReloadingContext, TlsFiles
from tests.behaviours.certificates import Authority
from tests.conftest import wait_for
from tests.unit.net.http2 import raw

T = TypeVar("T")

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
ECHO, STREAM, SIZED, WAIT, ERROR, FIRST, WRITE, DEAF = (
    f"/test.Echo/{name}" for name in ("Echo", "Stream", "Sized", "Wait", "Error", "First", "Write", "Deaf")
)


class Full(Exception):
    """The budget is exhausted."""


class CountedBudget:
    """Budget that counts the bytes held, like :class:`hubserve.net.admission.AdmissionControl`."""

    def __init__(self, most: int = 1 << 30) -> None:
        self.held = 0
        self.most = most

    def hold(self, count: int, held: int = 0) -> None:
        assert count > 0
        if held + count > 64 << 10:
            self.check_room(count)
        self.held += count

    def check_room(self, count: int) -> None:
        if self.held + count > self.most:
            raise Full

    def check_answer(self, count: int, held: int = 0) -> None:
        if count > 64 << 10 and self.held - held >= self.most:
            raise Full

    def hold_answer(self, count: int) -> None:
        assert count > 0
        self.held += count

    def release(self, count: int) -> None:
        assert 0 < count <= self.held
        self.held -= count


class RecordedConnection(Http2Connection):
    """Connection that records its GOAWAY: a client that sends without reading may not receive it."""

    goodbyes: list[tuple[int, str]]

    def _go_away(self, code: ErrorCode, text: str) -> None:
        self.goodbyes.append((code, text))
        super()._go_away(code, text)


class EchoServer:
    """Server of the methods below.

    Attributes:
        port: its port.
        budget: of incomplete messages and unsent answers.
        asked: names of the methods that were called.
        written: messages that the method Write has sent.
        cancelled: the number of cancelled methods.
        goodbyes: code and text of each GOAWAY.
        unexpected: unexpected errors.
    """

    def __init__(self, loop: str, tls: Authority | None = None, **settings: Any) -> None:
        self.budget = CountedBudget(settings.pop("budget_bytes", 1 << 30))
        self.asked: list[str] = []
        self.written = 0
        self.cancelled = 0
        self.goodbyes: list[tuple[int, str]] = []
        self.unexpected: list[Any] = []
        self._loop = LOOPS[loop]()
        self._loop.set_exception_handler(lambda _, context: self.unexpected.append(context))
        self._thread = threading.Thread(target=self._loop.run_forever, name="echo server", daemon=True)
        self._thread.start()
        gc.freeze()  # objects that exist already are not checked at the end
        self._gate = asyncio.Event()
        self.deadlines = DeadlineMonitor(0.02)
        self.methods = {
            ECHO: Method(self._echo),
            STREAM: Method(self._stream, streams=True),
            SIZED: Method(self._sized),
            WAIT: Method(self._wait),
            ERROR: Method(self._error),
            FIRST: Method(self._first, streams=True),
            WRITE: Method(self._write, streams=True),
            DEAF: Method(self._deaf, streams=True),
        }
        settings = {"max_calls": 300, "max_message_bytes": 64 << 20, "client_timeout_s": 30.0, **settings}
        service = Service(
            self.methods, **settings, budget=self.budget, deadlines=self.deadlines, decompress=_decompress, refuse=self._refuse
        )
        self.endpoint = endpoint_of(service)
        self.calls = self.endpoint.accept.__self__
        self._tls = _listener(tls) if tls else None
        self._server: asyncio.Server = self.run(self._listen())
        self.port: int = self._server.sockets[0].getsockname()[1]
        if tls:
            raw.TLS[self.port] = tls.client(alpn=["h2"])

    async def _listen(self) -> asyncio.Server:
        make = self._tls.secure(self._connect) if self._tls else self._connect
        return await self._loop.create_server(make, "127.0.0.1", 0)

    def _connect(self) -> Http2Connection:
        connection = RecordedConnection(self.endpoint)
        connection.goodbyes = self.goodbyes
        return connection

    # --- for the thread of the test ---

    @property
    def is_encrypted(self) -> bool:
        """Whether the port speaks TLS."""
        return self._tls is not None

    @property
    def url(self) -> str:
        """Address of the method Echo."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}{ECHO}"

    def run(self, work: Awaitable[T]) -> T:
        """Run a coroutine on the server's loop."""

        async def waited() -> T:
            return await work

        return asyncio.run_coroutine_threadsafe(waited(), self._loop).result(30)

    def look(self, function: Callable[[], T]) -> T:
        """Run a function on the server's loop."""

        async def call() -> T:
            return function()

        return self.run(call())

    def add(self, name: str, method: Method) -> None:
        """Add a method."""
        self.methods[f"/test.Echo/{name}"] = method

    def open_gate(self) -> None:
        """Let the calls of Wait end."""
        self.look(self._gate.set)

    def connection(self, client: Any) -> Any:
        """Return the server's end of a client's connection."""
        port = client.socket.getsockname()[1]

        def find() -> Any:
            ends = {each._transport.get_extra_info("peername")[1]: each for each in self.endpoint.connections}
            return ends.get(port)

        return wait_for(lambda: self.look(find))

    def feed(self, client: Any, pieces: list[bytes], at_once: bool = True) -> None:
        """Pass bytes to a connection as if they were received in exactly these pieces, in one turn of the loop or in several."""
        connection = self.connection(client)

        def give(piece: bytes) -> None:
            while piece:
                buffer = connection.get_buffer(-1)
                count = min(len(piece), len(buffer))
                buffer[:count] = piece[:count]
                connection.buffer_updated(count)
                piece = piece[count:]

        if at_once:
            self.look(lambda: [give(each) for each in pieces])
        else:
            for each in pieces:
                self.look(partial(give, each))

    def left(self) -> str:
        """Return what is left of connections and calls; "" if nothing is."""

        def look() -> str:
            mine = asyncio.current_task()
            found = {
                "connections": len(self.endpoint.connections),
                "calls": len(self.calls._open),
                "deadlines": len(self.deadlines._items),
                "bytes": self.budget.held,
                "tasks": len([each for each in asyncio.all_tasks() if each is not mine]),
            }
            if not any(found.values()):  # otherwise the costly check of all objects is of no use
                gc.collect()
                found["in memory"] = sum(type(each) in (Stream, Call) for each in gc.get_objects())
            return ", ".join(f"{count} {name}" for name, count in found.items() if count)

        return self.look(look)

    def close(self) -> None:
        """Stop; fail if anything is left, or after an unexpected error."""
        try:
            self.open_gate()
            with contextlib.suppress(AssertionError):
                wait_for(lambda: not self.left(), 60)
            left = self.left()
            self._server.close()
            self.run(self.endpoint.stop(0))
            assert not left, f"left over: {left}"
            assert not self.unexpected, self.unexpected
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
            self._loop.close()
            gc.unfreeze()

    # --- methods ---

    async def _echo(self, message: Message, call: Call) -> Answer:
        self.asked.append("Echo")
        return [message]

    async def _stream(self, call: Call) -> None:
        while (message := await call.read()) is not None:
            self.asked.append("Stream")
            call.send([message])
            await call.flushed()

    async def _sized(self, message: Message, call: Call) -> Answer:
        self.asked.append("Sized")
        return [pattern(int(message))]

    async def _wait(self, message: Message, call: Call) -> Answer:
        self.asked.append("Wait")
        try:
            await self._gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return [message]

    async def _error(self, message: Message, call: Call) -> Answer:
        raise RpcError(Status.FAILED_PRECONDITION, message.decode())

    async def _first(self, call: Call) -> None:
        """Answer the first message, which contains the length of the answer, and end."""
        message = await call.read()
        assert message is not None
        self.asked.append("First")
        call.send([pattern(int(message))])

    async def _write(self, call: Call) -> None:
        """Answer a message that contains the number of answers and their length."""
        message = await call.read()
        assert message is not None
        self.asked.append("Write")
        count, size = map(int, message.split())
        for _ in range(count):
            call.send([pattern(size)])
            await call.flushed()
            self.written += 1

    async def _deaf(self, call: Call) -> None:
        """Read nothing until the gate is opened; then answer with the number of bytes so far."""
        self.asked.append("Deaf")
        await self._gate.wait()
        count = 0
        while (message := await call.read()) is not None:
            count += len(message)
            call.send([b"%d" % count])
            await call.flushed()

    def _refuse(self, error: Exception) -> tuple[Status, str]:
        if isinstance(error, Full):
            return Status.UNAVAILABLE, "full"
        self.unexpected.append(error)
        return Status.INTERNAL, repr(error)


def _listener(authority: Authority) -> TlsListener:
    files = TlsFiles(*authority.write(authority.file.parent, "server"))
    return TlsListener(ReloadingContext(files, alpn=["h2"]), Connections(1 << 14, 1 << 14), 30.0, Counter())


def pattern(count: int) -> bytes:
    """Return ``count`` bytes that differ by position."""
    whole = bytes(range(251)) * (count // 251 + 1)
    return whole[:count]


async def _decompress(message: Message, coding: str) -> Message:
    if coding not in ("gzip", "deflate"):
        raise RpcError(Status.UNIMPLEMENTED, f"'{coding}' is not known here")
    return zlib.decompress(message, zlib.MAX_WBITS | 32)


@contextlib.contextmanager
def serving(loop: str = "uvloop", **settings: Any) -> Iterator[EchoServer]:
    """Run a server; fail if it leaves anything behind."""
    server = EchoServer(loop, **settings)
    try:
        yield server
    finally:
        raw.TLS.pop(server.port, None)
        server.close()
