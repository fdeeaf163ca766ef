"""One instance as the gateway sees it: a child process at the other end of a socket."""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hubserve.errors import InstanceDied, LoadFailed, from_wire
from hubserve.instance import wire
from hubserve.instance.arena import Arena
from hubserve.kinds.base import Description
from hubserve.registry.child import instance_command
from hubserve.serving.connection import Answered, Connection
from hubserve.serving.model_calls import ModelCalls
from hubserve.serving.spec import InstanceSpec
from hubserve.serving.talk import Talk

log = logging.getLogger("hubserve")

_STOP_TIMEOUT_S = 5.0
#: an idle instance answers a ping at once; one that does not is stuck
PING_TIMEOUT_S = 10.0
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class InstanceProcess:
    """A running instance. It computes its frames one after the other, and answers them in that order.

    Args:
        spec: what it is to run.
        calls: answers what it asks of other modules.

    Attributes:
        description: what the module answers, once :meth:`start` has returned.
        times: items and seconds of the calls that it made to warm up.
        dead: set when the process has ended without being asked to, after its frames were answered with the reason.
        talk: its second socket, if its module is given whole requests.
    """

    description: Description

    def __init__(self, spec: InstanceSpec, calls: ModelCalls) -> None:
        self.spec = spec
        self.talk: Talk | None = None
        self._calls = calls
        self.times: list[tuple[int, float]] = []
        self.dead = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._child: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None
        self._hung = ""
        self._stopping = False

    @property
    def pid(self) -> int:
        """The child's process id; 0 before it is started."""
        return self._child.pid if self._child else 0

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return f"pid {self.pid}"

    @property
    def is_dead(self) -> bool:
        """Whether it can no longer be asked."""
        return self._connection is None or self._connection.closed

    @property
    def is_idle(self) -> bool:
        """Whether it has answered everything."""
        return self._connection is None or not self._connection.unanswered

    @property
    def silent_s(self) -> float:
        """Seconds since something came from it."""
        return time.monotonic() - self._connection.heard_at if self._connection else 0.0

    def memory_bytes(self) -> int:
        """Its resident memory; 0 when it has ended."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text("ascii").split()[1]) * _PAGE_BYTES
        except (OSError, ValueError, IndexError):
            return 0

    async def start(self, measure: bool = False) -> None:
        """Start the process and have it load its module.

        Args:
            measure: have it find out how long batches take; see :attr:`times`.
        Raises:
            LoadFailed: the module cannot be loaded, its process ended while it tried, or it took too long.
        """
        await self._spawn()
        try:
            frame = await self._load(measure)
        except InstanceDied as error:
            if self._hung:
                raise LoadFailed(f"'{self.spec.module}' did not load within {self.spec.load_timeout_s:g} s; see the server's log") from None
            raise LoadFailed(f"'{self.spec.module}' cannot be loaded: {error.message}") from None
        except asyncio.CancelledError:
            await self.stop(grace_s=0)
            raise
        if frame.header["op"] == "failed":
            await self.stop(grace_s=1)
            raise from_wire(frame.header["error"])
        self.description = Description.from_json(frame.header["description"])
        self.times = [(int(items), float(seconds)) for items, seconds in frame.header["times"]]
        if self.talk and not self.description.whole_requests:
            self.talk.close()
            self.talk = None

    async def _spawn(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        our_side, their_side = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        arena = Arena.create()
        inherited = {"--serve-fd": theirs.fileno(), "--side-fd": their_side.fileno(), "--arena-fd": arena.fd}
        command = instance_command(*(str(each) for pair in inherited.items() for each in pair), python=self.spec.python)
        try:
            self._child = subprocess.Popen(  # noqa: ASYNC220 - fork and exec take a millisecond, and the loop has no children watcher to keep
                command, pass_fds=list(inherited.values()), env=self.spec.full_environ(), stdin=subprocess.DEVNULL
            )
        except OSError as error:
            ours.close()
            our_side.close()
            arena.close()
            raise LoadFailed(f"'{self.spec.module}' cannot be started: {error}") from None
        finally:
            theirs.close()
            their_side.close()
            os.close(arena.fd)  # both sides keep it mapped
        ours.setblocking(False)
        our_side.setblocking(False)
        _, self.talk = await self._loop.create_unix_connection(lambda: Talk(self._calls), sock=our_side)
        _, self._connection = await self._loop.create_unix_connection(lambda: Connection(arena, self._end_hung, self._on_lost), sock=ours)

    def infer(self, header: dict[str, Any], buffers: Sequence[Any], answered: Answered) -> None:
        """Have it compute one frame of calls; see :mod:`hubserve.instance.calls`.

        Args:
            header: the frame's.
            buffers: its buffers.
            answered: is called with the results; or with InstanceDied if it ended before it answered, NotComputed if it had not yet
                begun with this frame.
        """
        self._exchange(header, buffers, self.spec.compute_timeout_s, answered)

    def ping(self) -> None:
        """Have it show that it lives; one that does not answer is ended as hung."""
        self._exchange({"op": "ping"}, (), PING_TIMEOUT_S, lambda _: None)

    def _exchange(self, header: dict[str, Any], buffers: Sequence[Any], timeout_s: float, answered: Answered) -> None:
        assert self._connection is not None, "it is started"
        self._connection.exchange(header, buffers, timeout_s, answered)

    async def _load(self, measure: bool) -> wire.Frame:
        loaded: asyncio.Future[wire.Frame] = self._loop.create_future()

        def answered(frame: wire.Frame | InstanceDied) -> None:
            if loaded.done():  # nobody waits any more
                return
            if isinstance(frame, InstanceDied):
                loaded.set_exception(frame)
            else:
                loaded.set_result(frame)

        self._exchange(self.spec.load_order(measure), (), self.spec.load_timeout_s, answered)
        return await loaded

    def _end_hung(self, limit_s: float) -> None:
        self._hung = f"was ended because it did not answer within {limit_s:g} s"
        self.kill()

    async def stop(self, grace_s: float = _STOP_TIMEOUT_S) -> None:
        """Close the socket, at which an instance ends by itself; kill it if it does not within ``grace_s``."""
        self._stopping = True
        if self._connection:
            self._connection.close()
        deadline = self._loop.time() + grace_s
        while self._child and self._child.poll() is None:
            if self._loop.time() >= deadline:
                self.kill()
            await asyncio.sleep(0.01)

    def kill(self) -> None:
        """End the process at once; its frames are answered with the reason."""
        if self._child:
            self._child.kill()

    def _on_lost(self, error: Exception | None) -> None:
        if self._stopping:
            self._fail(InstanceDied("the instance was stopped"))
            return
        log.debug("instance of '%s' closed its socket: %s", self.spec.module, error)
        self._loop.create_task(self._announce_death())

    async def _announce_death(self) -> None:
        """Wait for the exit status, which comes a moment after the socket closes, then tell."""
        for _ in range(200):
            if self._child is None or self._child.poll() is not None:
                break
            await asyncio.sleep(0.005)
        else:
            self.kill()
        error = self._death()
        log.error("%s", error.message)
        self._fail(error)
        self.dead.set()

    def _fail(self, error: InstanceDied) -> None:
        if self._connection:
            self._connection.fail(error)
        if self.talk:
            self.talk.lost(error)

    def _death(self) -> InstanceDied:
        status = self._child.poll() if self._child else None
        if self._hung:
            how = self._hung
        elif status is None:
            how = "closed its socket"
        elif status < 0:
            how = f"was killed by {_signal_name(-status)}"
        else:
            how = f"exited with status {status}"
        return InstanceDied(f"the process of module '{self.spec.module}' ({self.place}) {how}; the server's log has its last words")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
