"""An instance that runs as a child process on this machine."""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from hubserve.gateway.instances.descriptor_reserve import RESERVE
from hubserve.gateway.instances.exit_watch import ExitWatch
from hubserve.gateway.instances.instance import Instance
from hubserve.gateway.instances.instance_spec import InstanceSpec
from hubserve.gateway.instances.module_output import ModuleOutput
from hubserve.gateway.instances.side_channel import SideChannel
from hubserve.registry.instance_command import instance_command
from hubserve.wire.arena import Arena
from hubserve.wire.model_access import ModelAccess

#: once the process has ended, its remaining output is read within this time; a process that it forked may hold its socket for ever
_LINGER_S = 0.2
#: once its socket has closed, a process ends by itself within this time
_EXIT_TIMEOUT_S = 1.0
#: native code's output that comes so soon after an answer was most likely written before it
_JUST_NOW_S = 0.25
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class _Child(NamedTuple):
    """A child process, and the gateway's ends of what connects them."""

    process: "subprocess.Popen[bytes]"
    sock: socket.socket
    side_sock: socket.socket
    arena: Arena


class InstanceProcess(Instance):
    """An instance in a child process, with which it shares memory."""

    def __init__(self, spec: InstanceSpec, models: Callable[[], ModelAccess]) -> None:
        super().__init__(spec, models)
        self._child: subprocess.Popen[bytes] | None = None
        self._exit_watch: ExitWatch | None = None

    @property
    def pid(self) -> int:
        """The child's process id; 0 before it is started."""
        return self._child.pid if self._child else 0

    @property
    def location(self) -> str:
        """Its location, for messages."""
        return f"pid {self.pid}"

    def memory_bytes(self) -> int:
        """Return its resident memory; 0 when it has ended."""
        try:
            return int(Path(f"/proc/{self.pid}/statm").read_text("ascii").split()[1]) * _PAGE_BYTES
        except (OSError, ValueError, IndexError):
            return 0

    async def _connect(self) -> None:
        RESERVE.fill()
        self._child, sock, side_sock, arena = RESERVE.spend_on(self._start_child)
        if self.output:
            self.output.start()
        self._exit_watch = ExitWatch(self._child, self._on_exit)
        with contextlib.ExitStack() as unused:
            unused.callback(sock.close)
            unused.callback(side_sock.close)
            unused.callback(arena.close)
            _, self.side_channel = await self._loop.create_unix_connection(
                lambda: SideChannel(self._models, self._end_broken, self._on_side_lost), sock=side_sock
            )
            self.side_channel.log_fields = self.spec.log_fields()
            _, self._connection = await self._loop.create_unix_connection(lambda: self._new_connection(arena), sock=sock)
            unused.pop_all()

    def _start_child(self) -> _Child:
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
            sock, their_sock = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            ours.callback(sock.close)
            theirs.callback(their_sock.close)
            side_sock, their_side = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            ours.callback(side_sock.close)
            theirs.callback(their_side.close)
            arena = Arena.create()
            ours.callback(arena.close)
            output = ModuleOutput(self.spec, self.frames, self._recent_frames)
            ours.callback(output.close)
            theirs.callback(os.close, arena.fd)  # both sides keep it mapped
            inherited = {"--serve-fd": their_sock.fileno(), "--side-fd": their_side.fileno(), "--arena-fd": arena.fd}
            arguments = [str(each) for pair in inherited.items() for each in pair]
            command = instance_command("--mark-output", *arguments, python=self.spec.python)
            child = subprocess.Popen(
                command,
                pass_fds=list(inherited.values()),
                env=self.spec.full_environ(),
                stdin=subprocess.DEVNULL,
                stdout=output.writing_fd,
                stderr=output.writing_fd,
            )
            self.output = output
            sock.setblocking(False)
            side_sock.setblocking(False)
            ours.pop_all()
        return _Child(child, sock, side_sock, arena)

    def _recent_frames(self) -> int:
        """Return the number of frames to which output without a mark may belong."""
        if self._connection is None:
            return 0
        return self._connection.unanswered or int(self.silent_s < _JUST_NOW_S)

    # --- its end ---

    def kill(self) -> None:
        """End the process at once; its frames are answered with the reason."""
        if self._child:
            self._child.kill()

    async def _wait_until_ended(self, deadline: float) -> None:
        while self._child and self._child.poll() is None:
            if self._loop.time() >= deadline:
                self.kill()
            await asyncio.sleep(0.01)
        if self._exit_watch:
            self._exit_watch.stop()
        self._finish_output()

    def _finish_output(self) -> None:
        if self.output:
            self.output.finish()

    def _on_exit(self) -> None:
        """Handle the end of the process."""
        self._finish_output()
        if self.is_dead:
            self._announce_death()
        elif self._connection:
            self._loop.call_later(_LINGER_S, self._connection.close)

    def _on_lost(self, error: Exception | None) -> None:
        if self._stopping or self._child is None or self._child.poll() is not None:
            if self._child and self._child.returncode is not None:
                self._finish_output()  # its last words come before the message about its end
            super()._on_lost(error)
        else:  # the exit status comes a moment later
            self._loop.call_later(_EXIT_TIMEOUT_S, self._give_up)

    def _give_up(self) -> None:
        if self._child and self._child.poll() is None:
            self._end_reason = self._end_reason or "closed its socket"
        self.kill()
        self._finish_output()
        self._announce_death()

    def _on_side_lost(self) -> None:
        """Handle the closing of the second socket, which is a failure only if the process goes on."""
        self._loop.call_later(_EXIT_TIMEOUT_S, self._end_without_side_channel)

    def _end_without_side_channel(self) -> None:
        if self.side_channel and not (self._stopping or self.is_dead):
            self.end("closed its second socket")

    def _how_it_ended(self) -> str:
        status = self._child.poll() if self._child else None
        if status is None:
            return "closed its socket"
        return f"was killed by {_signal_name(-status)}" if status < 0 else f"exited with status {status}"

    def _may_have_crashed(self) -> bool:
        status = self._child.poll() if self._child else None
        return status is not None and status < 0


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
