"""The undocumented parts of uvicorn that hubserve uses (docs/dependencies.md); its upper bound is raised when these hold."""

import asyncio
import contextlib
import inspect
import socket
from importlib import metadata

import uvicorn
from packaging.requirements import Requirement
from uvicorn.server import ServerState


def test_the_installed_release_is_within_the_bounds_and_there_is_an_upper_one() -> None:
    bounds = next(each.specifier for each in map(Requirement, metadata.requires("hubserve") or ()) if each.name == "uvicorn")
    assert metadata.version("uvicorn") in bounds
    assert "<" in {each.operator for each in bounds}


def test_the_server_has_the_state_that_connections_keep() -> None:
    state = ServerState()
    assert (state.connections, state.tasks, state.total_requests, state.default_headers) == (set(), set(), 0, [])


def test_a_server_asks_the_factory_for_connections_and_them_to_shut_down() -> None:
    asked: list[dict[str, object]] = []
    ended: list[object] = []
    captured: list[object] = []

    async def app(scope: object, receive: object, send: object) -> None:
        raise AssertionError("no request is sent")

    class Connection(asyncio.Protocol):
        def __init__(self, state: ServerState) -> None:
            self.state = state

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport
            self.state.connections.add(self)  # type: ignore[arg-type]
            connected.set()

        def connection_lost(self, _: Exception | None) -> None:
            self.state.connections.discard(self)  # type: ignore[arg-type]

        def shutdown(self) -> None:
            ended.append(self)
            self.transport.close()

    def factory(**arguments: object) -> Connection:
        asked.append(arguments)
        assert arguments["config"].loaded_app is not None  # type: ignore[attr-defined]
        return Connection(arguments["server_state"])  # type: ignore[arg-type]

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self):
            captured.append(self)
            yield

    connected = asyncio.Event()

    async def converse() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = Server(uvicorn.Config(app, http=factory, lifespan="off", log_config=None, log_level="warning", server_header=False))  # type: ignore[arg-type]
            serving = asyncio.create_task(server.serve([listener]))
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            await connected.wait()
            assert dict(server.server_state.default_headers).keys() == {b"date"}
            server.should_exit = True
            assert await reader.read() == b""
            await serving
            writer.close()
            assert captured == [server]
            assert server.force_exit is False

    asyncio.run(asyncio.wait_for(converse(), 30))
    assert [each.keys() for each in asked] == [{"config", "server_state", "app_state", "_loop"}]
    assert len(ended) == 1
    assert "http" in inspect.signature(uvicorn.Config).parameters
