"""Large bodies are read directly into their buffers."""

import asyncio
import socket
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import uvloop
from uvicorn.server import ServerState

from hubserve.net.admission import AdmissionControl
from hubserve.net.connection_limits import Connections
from hubserve.net.http1.connection import http_protocol

BODY = bytes(range(256)) * 4096
FIRST_BYTES = 16 << 10


class Receiver:
    """Receives a body in a buffer of its own, and counts the bytes read directly into it."""

    def __init__(self, size: int) -> None:
        self.whole = bytearray(size)
        self.size = self.direct = 0

    def feed(self, data: bytes) -> None:
        self.whole[self.size : self.size + len(data)] = data
        self.size += len(data)

    def receive_buffer(self) -> memoryview:
        return memoryview(self.whole)[self.size :]

    def buffer_filled(self, count: int) -> None:
        self.size += count
        self.direct += count


def asked(app: Any, times: int, loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop) -> list[bytes]:
    """Return the bodies of the responses to a client that sends a large body ``times`` times, each time at once."""
    answers: list[bytes] = []

    def client(port: int) -> None:
        with socket.create_connection(("127.0.0.1", port), 20) as connection:
            for _ in range(times):
                connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY))
                answer = b""
                while not answer.endswith(b"."):
                    answer += connection.recv(1 << 16) or b" the connection was closed."
                answers.append(answer.rpartition(b"\r\n")[2])

    async def serve() -> None:
        make, state = http_protocol(20, AdmissionControl(100, 1 << 30), Connections(100, 100)), ServerState()
        server = await asyncio.get_running_loop().create_server(lambda: make(SimpleNamespace(loaded_app=app), state, {}), "127.0.0.1", 0)
        thread = threading.Thread(target=client, args=(server.sockets[0].getsockname()[1],))
        thread.start()
        await asyncio.to_thread(thread.join)
        server.close()

    running = loop()
    try:
        running.run_until_complete(serve())
    finally:
        running.close()
    return answers


async def respond(send: Any, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_large_body_is_read_directly_into_its_buffer(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    receivers: list[Receiver] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.05)  # everything has arrived by now, and there is no buffer yet
        cycle, receiver = scope["extensions"]["hubserve"], Receiver(len(BODY))
        receivers.append(receiver)
        assert await cycle.read_into(receiver)
        await respond(send, b"%d." % receiver.size)

    assert asked(app, 3, loop) == [b"%d." % len(BODY)] * 3  # from the second time on, the head is cached
    assert all(bytes(receiver.whole) == BODY for receiver in receivers)
    assert all(receiver.direct >= len(BODY) - FIRST_BYTES for receiver in receivers)


@pytest.mark.parametrize("parts", [0, 1, 1000])
def test_an_application_may_read_a_large_body_in_parts_or_ignore_it(parts: int) -> None:
    """A connection that waits for a body's buffer must not wait for a body that is never read."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        size = 0
        for _ in range(parts):
            message = await receive()
            size += len(message["body"])
            if not message["more_body"]:
                break
        await respond(send, b"all." if size == len(BODY) else b"some." if size else b"none.")

    assert asked(app, 3) == [{0: b"none.", 1: b"some.", 1000: b"all."}[parts]] * 3
