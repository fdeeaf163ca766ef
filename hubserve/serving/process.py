"""One instance as the gateway sees it: a child process at the other end of a socket."""

import asyncio
import logging
import os
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hubserve.errors import InstanceDied, LoadFailed, from_wire
from hubserve.home import home
from hubserve.instance import wire
from hubserve.instance.arena import ARENA_BYTES, MIN_BUFFER_BYTES, Arena, Ring
from hubserve.kinds.base import Description
from hubserve.module import THREADS_VARIABLE
from hubserve.registry.child import instance_command, instance_environment

log = logging.getLogger("hubserve")

_STOP_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class InstanceSpec:
    """What an instance is to run, and where.

    Attributes:
        module: the served name, for messages.
        kind, folder, import_name, init_args, defaults: as :meth:`hubserve.kinds.base.Kind.load` takes them.
        max_batch_size: a limit below the module's own; 0 for none.
        search_path: folders in which relative model paths are looked up.
        threads: cores that it may compute with.
        environ: further environment variables.
        load_timeout_s: how long it may take to load.
        compute_timeout_s: how long one frame may take before the instance counts as hung.
    """

    module: str
    kind: str
    folder: Path
    import_name: str
    init_args: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    max_batch_size: int = 0
    search_path: Sequence[Path] = ()
    threads: int = 1
    environ: dict[str, str] = field(default_factory=dict)
    load_timeout_s: float = 300.0
    compute_timeout_s: float = 300.0

    def load_order(self) -> dict[str, Any]:
        """The ``load`` frame's header."""
        return {
            "op": "load",
            "kind": self.kind,
            "folder": str(self.folder),
            "import_name": self.import_name,
            "init_args": self.init_args,
            "defaults": self.defaults,
            "max_batch_size": self.max_batch_size,
        }

    def full_environ(self) -> dict[str, str]:
        """The child's environment."""
        return {
            **instance_environment(home(), self.search_path),
            "PYTHONUNBUFFERED": "1",
            THREADS_VARIABLE: str(self.threads),
            # numerical libraries start a thread per core each unless told; a user's own setting wins
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(self.threads)),
            **self.environ,
        }


class NotComputed(InstanceDied):
    """The instance ended while this frame waited behind another one."""


class InstanceProcess(asyncio.BufferedProtocol):
    """A running instance. It computes its frames one after the other, and answers them in that order.

    Attributes:
        description: what the module answers, once :meth:`start` has returned.
        dead: set when the process has ended without being asked to, after its frames were answered with the reason.
    """

    description: Description

    def __init__(self, spec: InstanceSpec) -> None:
        self.spec = spec
        self.dead = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._child: subprocess.Popen[bytes] | None = None
        self._transport: asyncio.Transport | None = None
        self._answers: deque[asyncio.Future[wire.Frame]] = deque()
        self._arena = Arena.create()
        self._ring = Ring(ARENA_BYTES)
        self._places: deque[int] = deque()  # of each unanswered frame
        self._watchdog: asyncio.TimerHandle | None = None
        self._timeout_s = spec.load_timeout_s
        self._hung = False
        self._stopping = False
        self._dead = False
        self._expect_head()

    @property
    def pid(self) -> int:
        """The child's process id; 0 before it is started."""
        return self._child.pid if self._child else 0

    @property
    def is_dead(self) -> bool:
        """Whether it can no longer be asked."""
        return self._dead

    async def start(self) -> None:
        """Start the process and have it load its module.

        Raises:
            LoadFailed: the module cannot be loaded, its process ended while it tried, or it took too long.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        command = instance_command("--serve-fd", str(theirs.fileno()), "--arena-fd", str(self._arena.fd))
        try:
            self._child = subprocess.Popen(  # noqa: ASYNC220 - fork and exec take a millisecond, and the loop has no children watcher to keep
                command, pass_fds=[theirs.fileno(), self._arena.fd], env=self.spec.full_environ(), stdin=subprocess.DEVNULL
            )
        finally:
            theirs.close()
            os.close(self._arena.fd)  # both sides keep it mapped
        ours.setblocking(False)
        self._transport, _ = await self._loop.create_unix_connection(lambda: self, sock=ours)
        try:
            frame = await self._exchange(self.spec.load_order(), ())
        except InstanceDied as error:
            if self._hung:
                raise LoadFailed(f"'{self.spec.module}' did not load within {self._timeout_s:g} s; see the server's log") from None
            raise LoadFailed(f"'{self.spec.module}' cannot be loaded: {error.message}") from None
        except asyncio.CancelledError:
            await self.stop(grace_s=0)
            raise
        if frame.header["op"] == "failed":
            await self.stop(grace_s=1)
            raise from_wire(frame.header["error"])
        self.description = Description.from_json(frame.header["description"])
        self._timeout_s = self.spec.compute_timeout_s

    def infer(self, calls: Sequence[dict[str, Any]], buffers: Sequence[Any]) -> "asyncio.Future[wire.Frame]":
        """Have it compute one frame of calls; see :mod:`hubserve.instance.calls`.

        Returns:
            The results; or InstanceDied if it ended before it answered, NotComputed if it had not yet begun with this frame.
        """
        return self._exchange({"op": "infer", "calls": calls}, buffers)

    def _exchange(self, header: dict[str, Any], buffers: Sequence[Any]) -> "asyncio.Future[wire.Frame]":
        answer: asyncio.Future[wire.Frame] = self._loop.create_future()
        if self._dead or self._transport is None:
            answer.set_exception(NotComputed(self._death().message))
            return answer
        self._answers.append(answer)
        if len(self._answers) == 1:
            self._watch()
        self._places.append(0)
        self._transport.writelines(wire.encode(header, buffers, self._place))
        return answer

    def _place(self, buffer: memoryview) -> int | None:
        """Copy a large buffer into the arena; None if it is small, or there is no room."""
        if len(buffer) < MIN_BUFFER_BYTES:
            return None
        offset = self._ring.take(len(buffer))
        if offset is not None:
            self._arena.view[offset : offset + len(buffer)] = buffer
            self._places[-1] += 1
        return offset

    def _watch(self) -> None:
        """Count the time of the frame that it computes now; a module that hangs must not take its requests' successors with it."""
        if self._watchdog:
            self._watchdog.cancel()
        self._watchdog = self._loop.call_later(self._timeout_s, self._end_hung) if self._answers else None

    def _end_hung(self) -> None:
        self._hung = True
        self._kill()

    async def stop(self, grace_s: float = _STOP_TIMEOUT_S) -> None:
        """Close the socket, at which an instance ends by itself; kill it if it does not within ``grace_s``."""
        self._stopping = True
        if self._transport:
            self._transport.abort()
        deadline = self._loop.time() + grace_s
        while self._child and self._child.poll() is None:
            if self._loop.time() >= deadline:
                self._kill()
            await asyncio.sleep(0.01)

    def _kill(self) -> None:
        if self._child:
            self._child.kill()

    # --- asyncio's protocol: two reads a frame, head then body, straight into their buffers ---

    def _expect_head(self) -> None:
        self._header_bytes = -1
        self._view = memoryview(bytearray(wire.HEAD.size))
        self._filled = 0

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the protocol's signature
        """Where the next bytes go."""
        return self._view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Some bytes came."""
        self._filled += nbytes
        if self._filled < len(self._view):
            return
        if self._header_bytes < 0:
            self._header_bytes, payload_bytes = wire.decode_head(self._view)
            self._view = memoryview(bytearray(self._header_bytes + payload_bytes))
            self._filled = 0
            return
        frame = wire.decode_body(self._view, self._header_bytes)
        self._expect_head()
        answer = self._answers.popleft()
        self._ring.give_back(self._places.popleft())
        self._watch()
        if not answer.done():
            answer.set_result(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """The process ended, or it was told to."""
        self._dead = True
        self._arena.close()
        if self._watchdog:
            self._watchdog.cancel()
        if self._stopping:
            self._fail_answers(InstanceDied("the instance was stopped"))
            return
        log.debug("instance of '%s' closed its socket: %s", self.spec.module, exc)
        self._loop.create_task(self._announce_death())

    async def _announce_death(self) -> None:
        """Wait for the exit status, which comes a moment after the socket closes, then tell."""
        for _ in range(200):
            if self._child is None or self._child.poll() is not None:
                break
            await asyncio.sleep(0.005)
        else:
            self._kill()
        error = self._death()
        log.error("%s", error.message)
        self._fail_answers(error)
        self.dead.set()

    def _fail_answers(self, error: InstanceDied) -> None:
        """Only the first frame was being computed, so only it can have ended the process."""
        for answer in self._answers:
            if not answer.done():
                answer.set_exception(error)
            error = NotComputed(error.message)

    def _death(self) -> InstanceDied:
        status = self._child.poll() if self._child else None
        if self._hung:
            how = f"was ended because it did not answer within {self._timeout_s:g} s"
        elif status is None:
            how = "closed its socket"
        elif status < 0:
            how = f"was killed by {_signal_name(-status)}"
        else:
            how = f"exited with status {status}"
        return InstanceDied(f"the process of module '{self.spec.module}' (pid {self.pid}) {how}; the server's log has its last words")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
