"""The limits on the TLS handshakes of one address, with real connections in this process."""

import asyncio
import contextlib
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from hubserve.net.connection_limits import Connections
from hubserve.net.tls import handshake_limits
from hubserve.net.tls.handshake_limits import HandshakeLimits
from hubserve.net.tls.listener import TlsListener
from hubserve.wire.certificates import ReloadingContext, TlsFiles
from tests.behaviours.certificates import Authority

Scenario = Callable[[int, ssl.SSLContext, "Counter[str]"], Awaitable[None]]


def run(folder: Path, limits: HandshakeLimits, scenario: Scenario, timeout_s: float = 120) -> "Counter[str]":
    """Run a scenario against a TLS server that greets; return the handshakes by their result."""
    authority = Authority(folder / "authority")
    files = TlsFiles(*authority.write(folder, "server"))
    results: Counter[str] = Counter()

    class Greeting(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            transport.write(b"hello")

    async def main() -> None:
        tls = TlsListener(ReloadingContext(files), Connections(5000, 5000), timeout_s, results, limits)
        server = await asyncio.get_running_loop().create_server(tls.secure(Greeting), "127.0.0.1", 0)
        try:
            await scenario(server.sockets[0].getsockname()[1], authority.client(), results)
        finally:
            server.close()
            tls.stop()
            await asyncio.sleep(0.1)

    asyncio.run(main())
    return results


async def greet(port: int, context: ssl.SSLContext, address: str = "127.0.0.1") -> bytes:
    """Connect from an address, and return the greeting."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, local_addr=(address, 0))
    try:
        return await reader.readexactly(5)
    finally:
        writer.transport.abort()


def test_beyond_its_share_an_address_waits_and_others_do_not(tmp_path: Path) -> None:
    async def scenario(port: int, context: ssl.SSLContext, results: "Counter[str]") -> None:
        mine = [asyncio.create_task(greet(port, context)) for _ in range(20)]
        await asyncio.sleep(0.5)
        assert not any(each.done() for each in mine[1:]), "one used up the time"
        for _ in range(3):
            assert await greet(port, context, f"127.0.0.{_ + 2}") == b"hello"
        assert sum(each.done() for each in mine) <= 1
        for each in mine:
            each.cancel()
        await asyncio.gather(*mine, return_exceptions=True)
        assert results["ok"] in (3, 4)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handshake_limits, "_BURST_S", 1e-6)
        run(tmp_path, HandshakeLimits(1e-6), scenario)


def test_what_waits_too_long_is_counted_with_its_reason(tmp_path: Path) -> None:
    async def scenario(port: int, context: ssl.SSLContext, results: "Counter[str]") -> None:
        assert await greet(port, context) == b"hello"
        with pytest.raises(ConnectionError):
            await greet(port, context)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handshake_limits, "_BURST_S", 1e-6)
        results = run(tmp_path, HandshakeLimits(1e-6), scenario, timeout_s=3)
    assert results == {"ok": 1, "rate": 1}


def test_a_burst_within_the_limits_is_delayed_and_not_refused(tmp_path: Path) -> None:
    async def scenario(port: int, context: ssl.SSLContext, results: "Counter[str]") -> None:
        greetings = await asyncio.gather(*(greet(port, context) for _ in range(60)))
        assert set(greetings) == {b"hello"}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handshake_limits, "_BURST_S", 1e-3)
        assert run(tmp_path, HandshakeLimits(0.2), scenario) == {"ok": 60}


def test_the_newest_of_too_many_incomplete_handshakes_displaces_the_oldest(tmp_path: Path) -> None:
    async def scenario(port: int, context: ssl.SSLContext, results: "Counter[str]") -> None:
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as opened:
            silent = [opened.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(5)]
            other = opened.enter_context(socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.2", 0)))
            for each in (*silent, other):
                each.setblocking(False)
            for each in silent[:2]:
                assert await asyncio.wait_for(loop.sock_recv(each, 1), 20) == b"", "it was closed"
            for each in (*silent[2:], other):
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(loop.sock_recv(each, 1), 0.05)
            assert await greet(port, context) == b"hello"

    results = run(tmp_path, HandshakeLimits(1, most_pending=3), scenario)
    assert (results["pending"], results["ok"]) == (3, 1)


def test_proxies_have_no_limits(tmp_path: Path) -> None:
    async def scenario(port: int, context: ssl.SSLContext, results: "Counter[str]") -> None:
        assert set(await asyncio.gather(*(greet(port, context) for _ in range(10)))) == {b"hello"}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handshake_limits, "_BURST_S", 1e-6)
        assert run(tmp_path, HandshakeLimits(1e-6, lambda address: address == "127.0.0.1", most_pending=1), scenario) == {"ok": 10}
