"""Engine without the server: a process that loads the module as an instance does, and computes on request."""

import json
import os
import select
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any

from hubserve.bench import processes
from hubserve.bench.load import Timing
from hubserve.bench.target import Target
from hubserve.errors import HubError, LoadFailed

_LOAD_TIMEOUT_S = 600.0


def reason_to_leave_out(target: Target, kind: str) -> str:
    """Return why the engine alone cannot be measured beside this server; "" if it can.

    Args:
        target: the served module.
        kind: the payload's.
    """
    if not target.gateway_pid or not target.instance_pids:
        return "the server is not on this machine, or not this user's"
    if not target.module["engine"]:
        return f"module '{target.module['name']}' has no engine"
    if not target.module["inputs"]:
        return f"module '{target.module['name']}' takes no arrays, so its engine cannot be measured alone"
    if kind == "json":
        return "the number of items in a json payload is unknown"
    return ""


class RawEngine:
    """Engine of a module, loaded in the environment, working directory and cores of one of the server's instances.

    Args:
        target: the served module.
        order: what its instance loaded: ``kind``, ``folder``, ``import_name``, ``init_args``, ``defaults`` and
            ``max_batch_size``.
    Raises:
        LoadFailed: it cannot be loaded, or another engine than the server's was chosen.
    """

    def __init__(self, target: Target, order: dict[str, Any]) -> None:
        self._module = target.module
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - is closed in close()
        pid = target.instance_pids[0]
        cores = os.sched_getaffinity(0)
        try:
            os.sched_setaffinity(0, os.sched_getaffinity(pid))
            self._child = subprocess.Popen(
                processes.python_command("hubserve.bench.raw_engine_process"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                env=processes.environ(pid),
                cwd=processes.working_directory(pid),
                start_new_session=True,  # Ctrl-C goes to the measuring process only
            )
        except OSError as error:
            self._log.close()
            raise LoadFailed(f"the server's instance (pid {pid}) cannot be inspected: {error}") from None
        finally:
            os.sched_setaffinity(0, cores)
        try:
            self._check(self._ask(order, _LOAD_TIMEOUT_S)["engine"])
        except BaseException:
            self.close()
            raise

    def _check(self, engine: str) -> None:
        served = self._module["engine"]["name"]
        if engine != served:
            raise LoadFailed(
                f"the server computes with {served}, but the same module loaded here computes with {engine}: they cannot be compared"
            )

    def measure(self, batch_size: int, shape: Sequence[int], timing: Timing) -> float:
        """Compute one batch repeatedly.

        Args:
            batch_size: items in it.
            shape: of one item; as the module says where it is empty.
            timing: how long.
        Returns:
            Items a second.
        Raises:
            HubError: the module failed.
        """
        keys = ("inputs", "picture_item")
        order = {"module": {key: self._module[key] for key in keys}, "batch_size": batch_size, "shape": list(shape)}
        order |= {"warm_up_s": timing.warm_up_s, "seconds": timing.seconds}
        return float(self._ask(order, timing.warm_up_s + timing.seconds + 2 * timing.timeout_s)["items_per_s"])

    def _ask(self, order: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        assert self._child.stdin
        assert self._child.stdout
        try:
            self._child.stdin.write(json.dumps(order).encode() + b"\n")
            self._child.stdin.flush()
            ready, _, _ = select.select([self._child.stdout], [], [], timeout_s)
            line = self._child.stdout.readline() if ready else b""
        except BrokenPipeError:
            line = b""
        if not line:
            how = f"ended: {self._last_log_line()}" if self._child.poll() is not None else f"did not answer within {timeout_s:g} s"
            raise LoadFailed(f"the process that computes with the engine alone {how}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise HubError(answer["error"])
        return answer

    def _last_log_line(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", "replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "its log is empty")

    def close(self) -> None:
        """End the process."""
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe:
                pipe.close()
        self._log.close()
