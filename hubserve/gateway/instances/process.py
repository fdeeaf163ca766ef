"""One instance as the gateway sees it: a child process at the other end of a socket."""

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hubserve.errors import HubError, InstanceDied, LoadFailed, from_wire
from hubserve.gateway.instances.connection import Answered, Connection
from hubserve.gateway.instances.descriptor_reserve import RESERVE
from hubserve.gateway.instances.exit_watch import ExitWatch
from hubserve.gateway.instances.frame_reader import FrameProtocol
from hubserve.gateway.instances.instance_spec import InstanceSpec
from hubserve.gateway.instances.side_channel import SideChannel
from hubserve.gateway.inter_model_calls import ModelCalls
from hubserve.kinds.base import Description
from hubserve.registry.instance_command import instance_command
from hubserve.wire import frames
from hubserve.wire.arena import Arena

log = logging.getLogger("hubserve")

_STOP_TIMEOUT_S = 5.0
#: an idle instance answers a ping at once; one that does not is stuck
PING_TIMEOUT_S = 10.0
#: begins the reason for ending an instance that sent something it may not send
BROKEN = "broke the protocol with the gateway: "
#: a frame that has begun continues, unless its writer has stopped
_STALL_TIMEOUT_S = 30.0
#: once the process has ended, its remaining output is read within this time; a process that it forked may hold its socket for ever
_LINGER_S = 0.2
#: once its socket has closed, a process ends by itself within this time
_EXIT_TIMEOUT_S = 1.0
_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class _Ends(NamedTuple):
    """The sockets that connect the gateway with a child."""

    child: "subprocess.Popen[bytes]"
    sock: socket.socket
    side: socket.socket
    arena: Arena


class InstanceProcess:
    """A running instance. It computes its frames one after the other, and answers them in that order.

    Args:
        spec: what it is to run.
        calls: answers what it asks of other modules.

    Attributes:
        description: what the module answers, once :meth:`start` has returned.
        times: items and seconds of the calls that it made to warm up.
        dead: set when the process has ended without being asked to, after its frames were answered with the reason.
        side_channel: its second socket, if its module is given whole requests.
        lacks_resources: whether :meth:`start` failed for want of descriptors, processes or memory, which may pass soon.
        died_loading: whether :meth:`start` failed because the process ended, of which the module may know nothing.
    """

    description: Description

    def __init__(self, spec: InstanceSpec, calls: ModelCalls) -> None:
        self.spec = spec
        self.side_channel: SideChannel | None = None
        self._calls = calls
        self.times: list[tuple[int, float]] = []
        self.dead = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.lacks_resources = False
        self.died_loading = False
        self._child: subprocess.Popen[bytes] | None = None
        self._exit_watch: ExitWatch | None = None
        self._connection: Connection | None = None
        self._why_ended = ""
        self._is_hung = False
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
        try:
            await self._spawn()
            frame = await self._load(measure)
            if frame.header["op"] == "failed":
                raise from_wire(frame.header["error"])
            self.description = Description.from_json(frame.header["description"])
        except InstanceDied as error:
            await self.stop(grace_s=0)
            if self._is_hung:
                raise LoadFailed(f"'{self.spec.module}' did not load within {self.spec.load_timeout_s:g} s; see the server's log") from None
            self.died_loading = True
            raise LoadFailed(f"'{self.spec.module}' cannot be loaded: {error.message}") from None
        except OSError as error:
            await self.stop(grace_s=0)
            self.lacks_resources = error.errno in _RESOURCES
            raise LoadFailed(f"'{self.spec.module}' cannot be started: {error}") from None
        except HubError:
            await self.stop(grace_s=1)
            raise
        except BaseException:
            await self.stop(grace_s=0)
            raise
        self.times = [(int(items), float(seconds)) for items, seconds in frame.header["times"]]
        if self.side_channel and not self.description.whole_requests:
            self.side_channel.close()
            self.side_channel = None
        if self.side_channel:
            self.side_channel.concurrent, self.side_channel.decoupled = self.description.concurrent, self.description.decoupled

    async def _spawn(self) -> None:
        """Start the process.

        Raises:
            OSError: there are too few descriptors or processes, or too little memory.
            LoadFailed: the place where it should run is not available.
        """
        RESERVE.fill()
        self._child, sock, side, arena = RESERVE.spend_on(self._start_child)
        self._exit_watch = ExitWatch(self._child, self._on_exit)
        with contextlib.ExitStack() as unused:
            unused.callback(sock.close)
            unused.callback(side.close)
            unused.callback(arena.close)
            _, self.side_channel = await self._loop.create_unix_connection(
                lambda: SideChannel(self._calls, self._end_broken, self._on_side_lost), sock=side
            )
            _, self._connection = await self._loop.create_unix_connection(lambda: self._new_connection(arena), sock=sock)
            unused.pop_all()

    def _start_child(self) -> _Ends:
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
            sock, their_sock = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            ours.callback(sock.close)
            theirs.callback(their_sock.close)
            side, their_side = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            ours.callback(side.close)
            theirs.callback(their_side.close)
            arena = Arena.create()
            ours.callback(arena.close)
            theirs.callback(os.close, arena.fd)  # both sides keep it mapped
            inherited = {"--serve-fd": their_sock.fileno(), "--side-fd": their_side.fileno(), "--arena-fd": arena.fd}
            command = instance_command(*(str(each) for pair in inherited.items() for each in pair), python=self.spec.python)
            child = subprocess.Popen(command, pass_fds=list(inherited.values()), env=self.spec.full_environ(), stdin=subprocess.DEVNULL)
            sock.setblocking(False)
            side.setblocking(False)
            ours.pop_all()
        return _Ends(child, sock, side, arena)

    def _new_connection(self, arena: Arena | None) -> Connection:
        return Connection(arena, self._end_hung, self._end_broken, self._on_lost)

    def infer(self, header: dict[str, Any], buffers: Sequence[Any], answered: Answered) -> None:
        """Have it compute one frame of calls; see :mod:`hubserve.instance.frame_calls`.

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

    async def _load(self, measure: bool) -> frames.Frame:
        loaded: asyncio.Future[frames.Frame] = self._loop.create_future()

        def answered(frame: frames.Frame | InstanceDied) -> None:
            if loaded.done():  # nobody waits any more
                return
            if isinstance(frame, InstanceDied):
                loaded.set_exception(frame)
            else:
                loaded.set_result(frame)

        self._exchange(self.spec.load_order(measure), (), self.spec.load_timeout_s, answered)
        return await loaded

    def check_frames(self) -> None:
        """End it if it began a frame and does not continue it."""
        ends: list[FrameProtocol | None] = [self._connection, self.side_channel]
        for each in ends:
            if each and each.stalled_s > _STALL_TIMEOUT_S:
                each.break_off(f"it began a frame and sent nothing more of it for {_STALL_TIMEOUT_S:g} s")

    async def stop(self, grace_s: float = _STOP_TIMEOUT_S) -> None:
        """Close the socket, at which an instance ends by itself; kill it if it does not within ``grace_s``."""
        self._stopping = True
        if self._connection:
            self._connection.close()
        if self.side_channel:
            self.side_channel.close()
        if grace_s <= 0:
            self.kill()
        deadline = self._loop.time() + grace_s
        while self._child and self._child.poll() is None:
            if self._loop.time() >= deadline:
                self.kill()
            await asyncio.sleep(0.01)
        if self._exit_watch:
            self._exit_watch.stop()
        self._announce_death()

    # --- its end ---

    def kill(self) -> None:
        """End the process at once; its frames are answered with the reason."""
        if self._child:
            self._child.kill()

    def end(self, how: str) -> None:
        """End it at once, and say why.

        Args:
            how: completes "the process of module ...".
        """
        self._why_ended = self._why_ended or how
        self.kill()
        if self._connection:
            self._connection.close()

    def _end_hung(self, limit_s: float) -> None:
        self._is_hung = True
        self.end(f"was ended because it did not answer within {limit_s:g} s")

    def _end_broken(self, reason: str) -> None:
        if not self._stopping:
            self.end(BROKEN + reason)

    def _on_exit(self) -> None:
        """Handle the end of the process."""
        if self.is_dead:
            self._announce_death()
        elif self._connection:
            self._loop.call_later(_LINGER_S, self._connection.close)

    def _on_lost(self, error: Exception | None) -> None:
        """Handle that the socket has closed."""
        log.debug("instance of '%s' closed its socket: %s", self.spec.module, error)
        if self._stopping or self._child is None or self._child.poll() is not None:
            self._announce_death()
        else:  # the exit status comes a moment later
            self._loop.call_later(_EXIT_TIMEOUT_S, self._give_up)

    def _on_side_lost(self) -> None:
        """Handle that the second socket has closed, which is a failure only if the process goes on."""
        self._loop.call_later(_EXIT_TIMEOUT_S, self._end_silent)

    def _end_silent(self) -> None:
        if self.side_channel and not (self._stopping or self.is_dead):
            self.end("closed its second socket")

    def _give_up(self) -> None:
        self.kill()
        self._announce_death()

    def _announce_death(self) -> None:
        error = InstanceDied("the instance was stopped") if self._stopping else self.death()
        if not (self._stopping or self.dead.is_set()):
            self.dead.set()
            log.error("%s", error.message)
        self._fail(error)

    def _fail(self, error: InstanceDied) -> None:
        if self._connection:
            self._connection.fail(error)
        if self.side_channel:
            self.side_channel.lost(error)

    def death(self, how: str = "") -> InstanceDied:
        """Return the error for the requests that the end of the process affects.

        Args:
            how: completes "the process of module ..."; "" for what is known.
        """
        status = self._child.poll() if self._child else None
        if how or self._why_ended:
            how = how or self._why_ended
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
