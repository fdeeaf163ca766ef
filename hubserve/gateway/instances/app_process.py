"""The process of one module's page (``create_gradio_app``), in the module's environment."""

import asyncio
import contextlib
import json
import socket
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

from hubserve.errors import LoadFailed, from_wire
from hubserve.gateway.instances.descriptor_reserve import RESERVE
from hubserve.gateway.instances.exit_watch import ExitWatch
from hubserve.gateway.instances.frame_records import FrameRecords
from hubserve.gateway.instances.instance_spec import InstanceSpec
from hubserve.gateway.instances.module_output import ModuleOutput
from hubserve.registry.instance_command import instance_command


class AppProcess:
    """A page that runs beside a module's instances, with its own copy of the module.

    Args:
        spec: of the module's instances.
        scratch: an empty folder to run the page in.
        root_path: the path under which clients see the page.

    Attributes:
        port: on which it listens on this machine, once :meth:`start` has returned.
        is_dead: whether its process has ended.
    """

    def __init__(self, spec: InstanceSpec, scratch: Path, root_path: str) -> None:
        self.port = 0
        self.is_dead = False
        self._spec = spec
        self._scratch = scratch
        self._root_path = root_path
        self._child: subprocess.Popen[bytes] | None = None
        self._sock: socket.socket | None = None
        self._output: ModuleOutput | None = None

    async def start(self) -> None:
        """Start the process, load the module, and wait until the page listens.

        Raises:
            LoadFailed: one of these failed, or took longer than the module may take to load.
        """
        name, limit_s = self._spec.module, self._spec.load_timeout_s
        try:
            self._scratch.mkdir(parents=True, exist_ok=True)
            RESERVE.fill()
            self._child, self._sock = RESERVE.spend_on(self._spawn)
            if self._output:
                self._output.start()
            ExitWatch(self._child, self._on_exit)
            answer = await asyncio.wait_for(self._ask(self._sock), limit_s)
        except asyncio.TimeoutError:
            self.stop()
            raise LoadFailed(f"the page of '{name}' did not start within {limit_s:g} s; see the server log") from None
        except OSError as error:
            self.stop()
            raise LoadFailed(f"the page of '{name}' cannot be started: {error}") from None
        except BaseException:
            self.stop()
            raise
        if "error" in answer:
            self.stop()
            raise LoadFailed(f"the page of '{name}' cannot be shown: {from_wire(answer['error']).message}")
        self.port = int(answer["port"])

    def _spawn(self) -> "tuple[subprocess.Popen[bytes], socket.socket]":
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        output = None
        try:
            output = ModuleOutput(replace(self._spec, number="page"), FrameRecords())
            command = instance_command("--mark-output", "--app-fd", str(theirs.fileno()), python=self._spec.python)
            environ = self._spec.full_environ()
            child = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output.writing_fd,
                stderr=output.writing_fd,
            )
            self._output = output
        except BaseException:
            ours.close()
            if output:
                output.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        return child, ours

    async def _ask(self, sock: socket.socket) -> dict[str, Any]:
        spec, loop = self._spec, asyncio.get_running_loop()
        order = {key: value for key, value in spec.load_order(measure=False).items() if key in _ORDER}
        order |= {"scratch": str(self._scratch), "root_path": self._root_path}
        await loop.sock_sendall(sock, json.dumps(order).encode() + b"\n")
        line = b""
        while not line.endswith(b"\n"):
            part = await loop.sock_recv(sock, 64 << 10)
            if not part:
                raise LoadFailed(f"the process of the page of '{spec.module}' ended while it started; see the server log")
            line += part
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _on_exit(self) -> None:
        self.is_dead = True
        if self._output:
            self._output.finish()

    def stop(self) -> None:
        """End the process at once, with the requests that it is answering."""
        self.is_dead = True
        if self._sock:
            self._sock.close()
            self._sock = None
        if self._child:
            with contextlib.suppress(ProcessLookupError):
                self._child.kill()


_ORDER = ("kind", "folder", "import_name", "init_args", "defaults")
