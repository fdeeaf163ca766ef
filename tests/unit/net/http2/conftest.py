"""Fixtures: servers on both kinds of event loop."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hubserve.net.http2 import session
from tests.behaviours.certificates import Authority
from tests.unit.net.http2.server import EchoServer, serving

Start = Callable[..., EchoServer]


@pytest.fixture(autouse=True)
def short_linger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reset answered requests soon: tests wait until nothing is left."""
    monkeypatch.setattr(session, "_LINGER_S", 0.05)


TRANSPORTS = ["asyncio", "uvloop", "uvloop with TLS"]


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def _options(transport: str, authority: Authority) -> dict[str, Any]:
    return {"loop": transport.split(maxsplit=1)[0], "tls": authority if "TLS" in transport else None}


@pytest.fixture(params=TRANSPORTS)
def start(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Start]:
    """Return a function that starts servers, which must leave nothing behind."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(serving(**_options(request.param, authority), **settings))


@pytest.fixture(scope="module", params=TRANSPORTS)
def one_server(request: pytest.FixtureRequest, authority: Authority) -> Iterator[EchoServer]:
    """Return a server that the tests of a file share."""
    with serving(**_options(request.param, authority)) as server:
        yield server


@pytest.fixture
def server(start: Callable[..., Any]) -> EchoServer:
    return start()  # type: ignore[no-any-return]
