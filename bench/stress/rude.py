"""Misbehaving clients: slow ones, and ones that send garbage."""

import asyncio
import contextlib
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from . import protection
from .calls import post, post_json

_PATIENCE_S = 2.0
_BYTE_EVERY_S = 1.0
_GARBAGE_EVERY_S = (0.25, 0.75)
_SLOW_BODY_BYTES = 100_000


async def slow_client(port: int, module: str, number: int, counts: "Counter[str]") -> None:
    """Send one byte a second, of a header or of a body, again and again from the start when the server has had enough."""
    part = ("header", "body")[number % 2]
    head = f"POST /predict/{module} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    head += "X-Slow: " if part == "header" else f"Content-Length: {_SLOW_BODY_BYTES}\r\n\r\n"
    while True:
        with contextlib.suppress(OSError):
            async with connection(port) as (reader, writer):
                counts[f"slow {part}: connections"] += 1
                writer.write(protection.current.with_key(head.encode()))
                while await _is_quiet(reader, _BYTE_EVERY_S):
                    writer.write(b"a")
                    await writer.drain()
                counts[f"slow {part}: cut off"] += 1
        await asyncio.sleep(_BYTE_EVERY_S)


async def garbage_client(port: int, module: str, number: int, counts: "Counter[str]") -> None:
    """Send one kind of garbage after the other, and count what comes back."""
    chance = random.Random(number)
    kinds = list(GARBAGE)
    while True:
        kind = chance.choice(kinds)
        counts[f"{kind}: {await _send_garbage(port, GARBAGE[kind](module, chance), leave=kind in LEAVES)}"] += 1
        await asyncio.sleep(chance.uniform(*_GARBAGE_EVERY_S))


async def _send_garbage(port: int, raw: bytes, *, leave: bool) -> str:
    """Return the outcome: an HTTP status, ``answered as if right``, ``closed``, ``waits for more`` or ``left`` (the client itself)."""
    try:
        async with connection(port) as (reader, writer):
            writer.write(protection.current.with_key(raw))
            await writer.drain()
            if leave:
                return "left"
            received = await asyncio.wait_for(reader.read(4096), _PATIENCE_S)
    except TimeoutError:
        return "waits for more"
    except OSError:
        return "closed"
    if not received:
        return "closed"
    return AS_IF_RIGHT if b'"status":"000"' in received else received[9:12].decode(errors="replace")


AS_IF_RIGHT = "answered as if right"


@asynccontextmanager
async def connection(
    port: int, sock: socket.socket | None = None, limit: int = 1 << 16
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a connection, or use a connected socket, and abort it on exit."""
    tls = protection.current.tls
    to = {"sock": sock, "server_hostname": "localhost" if tls else None} if sock else {"host": "127.0.0.1", "port": port}
    reader, writer = await asyncio.open_connection(**to, limit=limit, ssl=tls)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def _is_quiet(reader: asyncio.StreamReader, seconds: float) -> bool:
    """Return whether nothing arrives, not even the end, for ``seconds``."""
    try:
        await asyncio.wait_for(reader.read(4096), seconds)
    except TimeoutError:
        return True
    return False


def _raw(text: str) -> Callable[[str, random.Random], bytes]:
    return lambda module, _: text.replace("MODULE", module).encode()


def _body(body: bytes, content_type: str = "application/json", *headers: str) -> Callable[[str, random.Random], bytes]:
    return lambda module, _: post(module, body, content_type, headers)


def _array(data: str, shape: list[int]) -> Callable[[str, random.Random], bytes]:
    return lambda module, _: post_json(module, {"data": data, "about": {"shape": shape, "dtype": "float32"}})


_POST = "POST /predict/MODULE HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"

#: kind -> makes it, for a module, with some chance
GARBAGE: dict[str, Callable[[str, random.Random], bytes]] = {
    "random bytes": lambda _, chance: chance.randbytes(chance.randint(1, 4000)) + b"\r\n\r\n",
    "no HTTP": _raw("GIVE ME /predict/MODULE NOW\r\n\r\n"),
    "unknown HTTP version": _raw("POST /predict/MODULE HTTP/9.9\r\nHost: 127.0.0.1\r\n\r\n"),
    "header without a colon": _raw("POST /predict/MODULE HTTP/1.1\r\nHost 127.0.0.1\r\n\r\n"),
    "huge header": _raw(f"{_POST}X-Huge: {'a' * 200_000}\r\n\r\n"),
    "negative length": _raw(f"{_POST}Content-Length: -5\r\n\r\n"),
    "two lengths": _raw(f"{_POST}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}"),
    "broken chunk": _raw(f"{_POST}Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n"),
    "cut body": _raw(f'{_POST}Content-Length: 5000\r\n\r\n{{"data": "AAAA'),
    "half a request": _raw("POST /predict/MODULE HT"),
    "leaves before its answer": _array("AACAPwAAAAAAAAAA", [1, 3]),
    "wrong JSON": _body(b'{"data": '),
    "JSON that is not an object": _body(b"[1, 2, 3]"),
    "deep JSON": _body(b"[" * 50_000),
    "deep JSON that is complete": _body(b'{"data":' + b"[" * 1000 + b"]" * 1000 + b"}"),
    "JSON as deep as may be": _body(b'{"data":' + b"[" * 499 + b"]" * 499 + b"}"),
    "JSON of many values": _body(b'{"data":[' + b"1," * 200_000 + b"1]}"),
    "not UTF-8": _body(b'{"data": "\xff\xfe"}'),
    "other arguments": _body(b'{"no": "such", "arguments": true}'),
    "wrong base64": _array("&&&&", [1, 3]),
    "too few bytes": _array("AAAA", [1, 3]),
    "impossible shape": _array("AAAA", [1 << 62, 3]),
    "negative shape": _array("AAAA", [-1, 3]),
    "wrong rank": _array("AACAPw==", [1]),
    "no shape header": _body(b"1234", "application/octet-stream"),
    "wrong shape header": _body(b"1234", "application/octet-stream", "X-Hub-Shape: one,three", "X-Hub-Dtype: float32"),
    "wrong dtype header": _body(b"1234", "application/octet-stream", "X-Hub-Shape: 1,3", "X-Hub-Dtype: float33"),
    "no picture": _body(b"\x89PNG\r\n\x1a\nno picture", "image/png"),
    "no content type": _body(b"abc", ""),
    "unknown module": _raw(f"{_POST.replace('MODULE', 'no-such-module')}Content-Length: 2\r\n\r\n{{}}"),
    "GET": _raw("GET /predict/MODULE HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
}
#: kinds after which the client leaves without waiting
LEAVES = {"cut body", "half a request", "leaves before its answer"}
