"""Let ``hub`` commands control a running server: JSON lines over a Unix socket that only its user can open.

One line is the request, ``{"op": "reload", ...}``; each line of the response is about one module, and the last is ``{"done": true}`` or
``{"error": "..."}``.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

from hubserve.errors import HubError
from hubserve.paths import conf_dir
from hubserve.server.listener import bind_private, short_name

Answer = Callable[[dict[str, Any]], AsyncIterator[dict[str, Any]]]

_LONGEST_LINE_BYTES = 1 << 20
_CONNECT_TIMEOUT_S = 5.0


class AdminSocket:
    """The server's end of the socket.

    Args:
        port: the server's.
        answer: returns the lines of the response to a request.
    """

    def __init__(self, port: int, answer: Answer) -> None:
        self._path = _path(port)
        self._answer = answer
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen, in place of a socket that a killed server left behind."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        listener = bind_private(self._path)
        listener.listen()
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=_LONGEST_LINE_BYTES)

    def stop(self) -> None:
        """Stop listening."""
        if self._server:
            self._server.close()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async for line in self._response(await reader.readline()):
                writer.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError, RecursionError):  # the command was interrupted, or is not a hub command
            pass
        finally:
            writer.close()

    async def _response(self, request: bytes) -> AsyncIterator[dict[str, Any]]:
        try:
            async for line in self._answer(json.loads(request)):
                yield line
        except HubError as error:
            yield {"error": error.message}
        else:
            yield {"done": True}


def ask(port: int, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Send a request to the server on a port.

    Args:
        port: the server's.
        request: ``{"op": ...}``.
    Returns:
        The response, line by line, as it arrives.
    Raises:
        HubError: no server answers, it refused the request, or it ended.
    """
    path = _path(port)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_CONNECT_TIMEOUT_S)
        try:
            with short_name(path) as name:
                connection.connect(name)
        except OSError as error:
            raise HubError(
                f"no hub server of this user's home answers on port {port} ({error.strerror or error}); "
                f"'hub serving status -p {port}' shows whether one runs"
            ) from None
        connection.settimeout(None)  # loading a model may take long
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("r", encoding="utf-8") as lines:
            for line in lines:
                answer = json.loads(line)
                if "done" in answer:
                    return
                if "error" in answer and "module" not in answer:
                    raise HubError(answer["error"])
                yield answer
    raise HubError(f"the server on port {port} ended before it answered; see its log")


def _path(port: int) -> Path:
    return conf_dir() / f"serving_{port}.sock"
