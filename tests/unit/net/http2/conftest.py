"""Fixtures: servers on both kinds of event loop."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hubserve.net.http2 import session
from tests.unit.net.http2.server import EchoServer, serving

Start = Callable[..., EchoServer]


@pytest.fixture(autouse=True)
def short_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reset answered requests soon: tests wait until nothing is left."""
    monkeypatch.setattr(session, "_LINGER_S", 0.05)


@pytest.fixture(params=["asyncio", "uvloop"])
def start(request: pytest.FixtureRequest) -> Iterator[Start]:
    """Return a function that starts servers, which must leave nothing behind."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(serving(request.param, **settings))


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def one_server(request: pytest.FixtureRequest) -> Iterator[EchoServer]:
    """Return a server that the tests of a file share."""
    with serving(request.param) as server:
        yield server


@pytest.fixture
def server(start: Callable[..., Any]) -> EchoServer:
    return start()  # type: ignore[no-any-return]
