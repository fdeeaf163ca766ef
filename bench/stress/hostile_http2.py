"""Hostile HTTP/2 connections that keep a server busy without useful work, and the processor time that each costs."""

import select
import socket
import time
from collections.abc import Callable, Iterator

import hpack

from stress.processes import cpu_s
from stress.report import Promise
from stress.server import Server
from tests.unit.net.http2.raw import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    fields_of,
    frame,
    setting,
    u32,
)

#: how long each may go on, if it is not cut off before
ATTACK_S = 2.0
#: the most processor time that one may cost the server meanwhile
MOST_CPU_S = 0.5
_CHECK = "/grpc.health.v1.Health/Check"
_STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"
#: a Huffman-coded field: few bytes, slow to decode
_COSTLY = b"\0\x81\x1f\x81\x1f"
_AT_ONCE = 50
_CHUNK_BYTES = 64 << 10

Frames = Iterator[bytes]


def _repeated(*what: bytes, first: bytes = b"") -> Callable[[], Frames]:
    def frames() -> Frames:
        yield first
        while True:
            yield b"".join(what) * _AT_ONCE

    return frames


def _requests(more: Callable[[int], bytes], block: bytes = b"", flags: int = END_HEADERS, path: str = _STREAM) -> Callable[[], Frames]:
    """Return endless requests, each followed by further frames."""

    def frames() -> Frames:
        plain = b"".join(_literal(*each) for each in fields_of(path))
        for number in range(1, 2**31 - 1, 2):
            yield frame(HEADERS, flags, number, plain + block) + more(number)

    return frames


def _literal(name: str, value: str) -> bytes:
    return bytes(hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(name, value)]))


_OPEN = frame(HEADERS, END_HEADERS, 1, b"".join(_literal(*each) for each in fields_of(_STREAM)))

#: name -> makes the frames
HOSTILE: dict[str, Callable[[], Frames]] = {
    "PING": _repeated(frame(PING, payload=bytes(8))),
    "SETTINGS": _repeated(frame(SETTINGS, payload=setting(4, 0)), frame(SETTINGS, payload=setting(4, 1))),
    "PRIORITY": _repeated(frame(PRIORITY, 0, 1, u32(3) + b"\0")),
    "WINDOW_UPDATE": _repeated(frame(WINDOW_UPDATE, payload=u32(1))),
    "unknown frames": _repeated(frame(0xEE)),
    "empty DATA": _repeated(frame(DATA, 0, 1), first=_OPEN),
    "DATA of single bytes": _repeated(frame(DATA, 0, 1, b"\0"), first=_OPEN),
    "CONTINUATION": _repeated(frame(CONTINUATION, 0, 1), first=frame(HEADERS, 0, 1)),
    "rapid reset": _requests(lambda number: frame(RST_STREAM, 0, number, u32(8))),
    "resets that the server is made to send": _requests(lambda number: frame(WINDOW_UPDATE, 0, number, u32(0))),
    "malformed requests": _requests(lambda _: b"", _literal("connection", "close")),
    "costly headers": _requests(lambda _: b"", _COSTLY * 100, END_HEADERS | END_STREAM, _CHECK),
    "large headers": _requests(lambda _: b"", _literal("x", "y" * 15_000), END_HEADERS | END_STREAM, _CHECK),
    "too many headers": _requests(lambda _: b"", _COSTLY * 1850, END_HEADERS | END_STREAM, _CHECK),
    "table sizes": _repeated(frame(HEADERS, END_HEADERS, 1, b"\x20" * 16_000)),
}


def attack(server: Server, port: int, name: str, host: str) -> tuple[float, float]:
    """Make one hostile connection, and send as fast as the server takes it.

    Args:
        server: the server under attack.
        port: its gRPC port.
        name: one of :data:`HOSTILE`.
        host: the source address.
    Returns:
        Seconds that the attack lasted, and seconds of the server's processor time.
    """
    before, begin = cpu_s(server.process.pid), time.monotonic()
    with socket.create_connection(("127.0.0.1", port), source_address=(host, 0)) as client:
        client.setblocking(False)
        frames, data = HOSTILE[name](), PREFACE + frame(SETTINGS)
        try:
            while (left_s := begin + ATTACK_S - time.monotonic()) > 0:
                while len(data) < _CHUNK_BYTES:
                    data += next(frames)
                readable, writable, _ = select.select([client], [client], [], left_s)
                if readable and not client.recv(1 << 18):
                    break
                if writable:
                    data = data[client.send(data) :]
        except OSError:
            pass
    took_s = time.monotonic() - begin
    time.sleep(0.1)  # lets the server process what it has already read
    return took_s, cpu_s(server.process.pid) - before


def cost_promise(server: Server, port: int) -> tuple[Promise, list[dict[str, str]]]:
    """Make each hostile connection; return the promise on their cost and a row for each."""
    rows, worst = [], (0.0, "")
    for number, name in enumerate(HOSTILE, 2):
        took_s, used_s = attack(server, port, name, f"127.0.0.{number}")  # a separate address, so that each has its own budget
        worst = max(worst, (used_s, name))
        rows.append({"connections": f"hostile: {name}", "found": f"went on for {took_s:.2f} s, cost {used_s:.2f} s"})
    text = f"no hostile connection costs more than {MOST_CPU_S:g} s of processor time in {ATTACK_S:g} s"
    return Promise(text, f"{worst[0]:.2f} s: {worst[1]}", worst[0] <= MOST_CPU_S), rows
