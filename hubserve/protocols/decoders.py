"""Decode large requests in decoder processes.

A JSON parser holds the interpreter lock while it works, a second for 20 MB; on the event loop or in a thread of the gateway it would block
every client. Decoder processes are started on demand and ended after some idle time. They exchange frames of :mod:`hubserve.wire.frames`
with threads of the gateway, which wait in system calls without the lock.
"""

import asyncio
import contextlib
import json
import logging
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from hubserve.errors import HubError, InvalidInput, Unavailable, from_wire
from hubserve.wire import frames

log = logging.getLogger("hubserve")

T = TypeVar("T")
#: large requests that are decoded at once; others wait
_PROCESSES = 2
#: a process that takes longer is killed; a request with as many values as allowed takes seconds
_TIMEOUT_S = 120.0
#: a process that was idle for this long is ended, which frees its memory
_IDLE_S = 30.0
#: gives the child this process's import path
_START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from hubserve.protocols.decoder_process import main; main(int(sys.argv[2]))"
)


class Decoders:
    """Pool of up to two decoder processes, started on demand."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_PROCESSES, "hubserve-decoder")
        self._idle: list[_Decoder] = []
        self._busy: set[_Decoder] = set()
        self._closed = False

    async def call(self, function: str, arguments: dict[str, Any], buffers: Sequence[Any], read: Callable[[frames.Frame], T]) -> T:
        """Call a function in one of the processes.

        Args:
            function: ``"package.module:function"``; it is called with the arguments and the buffers, and returns a header and buffers.
            arguments: JSON values.
            buffers: bytes-like objects.
            read: converts the response; called in a thread.
        Raises:
            HubError: raised by the function.
            Unavailable: two processes died while they ran it, or none can be started.
        """
        loop = asyncio.get_running_loop()
        header = {"function": function, "arguments": arguments}
        try:
            return await loop.run_in_executor(self._threads, self._call, header, buffers, read)
        except HubError as error:
            if error.detail and not isinstance(error, InvalidInput):
                log.error("%s: %s", error.message, error.detail)  # noqa: TRY400 - the traceback is that of the other process
            raise
        finally:
            loop.call_later(_IDLE_S, self._end_idle)

    async def run(self, function: Callable[[], T]) -> T:
        """Call a function in one of the threads, for work in many small steps that lets other threads run in between."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    def close(self) -> None:
        """End the processes."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
        for decoder in [*self._busy, *self._idle]:
            decoder.end()

    def _end_idle(self) -> None:
        for decoder in [each for each in self._idle if time.monotonic() - each.used_at >= _IDLE_S]:
            with contextlib.suppress(ValueError):  # a thread has just acquired it
                self._idle.remove(decoder)
                decoder.end()

    # --- in a thread ---

    def _call(self, header: dict[str, Any], buffers: Sequence[Any], read: Callable[[frames.Frame], T]) -> T:
        for _ in range(2):
            decoder = self._acquire()
            try:
                frame = decoder.request(header, buffers)
            except (OSError, EOFError, frames.WireError) as error:  # it was killed, perhaps because memory ran out
                log.warning("a decoder process ended: %s", error)
                decoder.end()
                continue
            else:
                self._idle.append(decoder)
            finally:
                self._busy.discard(decoder)
            if "error" in frame.header:
                raise from_wire(frame.header["error"])
            return read(frame)
        raise Unavailable("the request could not be decoded: the process that did it ended twice; send fewer items at once")

    def _acquire(self) -> "_Decoder":
        if self._closed:
            raise Unavailable("the server is being stopped; send the request again")
        try:
            decoder = self._idle.pop()
        except IndexError:
            decoder = _Decoder()
        self._busy.add(decoder)
        return decoder


class _Decoder:
    """One decoder process and its socket.

    Attributes:
        used_at: time of its last response, on the clock of ``time.monotonic``.
    Raises:
        Unavailable: it cannot be started.
    """

    def __init__(self) -> None:
        try:
            self._socket, theirs = socket.socketpair()
            with theirs:
                self._child = subprocess.Popen(
                    [sys.executable, "-c", _START, json.dumps(sys.path), str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                )
        except OSError as error:
            raise Unavailable(f"the request is too large to be decoded now: no process can be started for it ({error})") from None
        self._socket.settimeout(_TIMEOUT_S)
        self.used_at = 0.0

    def request(self, header: dict[str, Any], buffers: Sequence[Any]) -> frames.Frame:
        """Send a frame, and return the response."""
        frames.send(self._socket, header, buffers)
        frame = frames.receive(self._socket)
        self.used_at = time.monotonic()
        return frame

    def end(self) -> None:
        """Kill the process; closing the socket wakes a thread that waits for its response."""
        self._child.kill()
        self._child.wait()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
