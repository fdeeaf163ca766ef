"""Work in a process of its own: what it imports costs this process no memory, and its crash does not end it."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, List, NamedTuple

from hubserve.errors import HubError, LoadFailed, from_wire, to_wire

#: The child sees this process's import path as it is now, however that came about.
_START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from hubserve.engines.child import main; main(sys.argv[2], sys.argv[3], sys.argv[4])"
)
_DETAIL_CHARACTERS = 2000


class ChildFailed(LoadFailed):
    """The child did not finish its work.

    Attributes:
        lasting: whether doing it again would fail again; not so for one that was killed or ran out of time.
    """

    def __init__(self, message: str, detail: str = "", lasting: bool = True) -> None:
        super().__init__(message, detail)
        self.lasting = lasting


class _Report(NamedTuple):
    result: Any
    error: Any


def call_in_child(function: str, arguments: List[Any], timeout_s: float) -> Any:
    """Call a function in a new process of this Python.

    Args:
        function: ``"package.module:function"``.
        arguments: its arguments; they and the result must be JSON.
        timeout_s: after this the child is killed.
    Raises:
        HubError: the one that the function raised.
        ChildFailed: the process ended or hung before it had an answer.
    """
    with tempfile.TemporaryDirectory(prefix="hubserve-child-") as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, "-c", _START, json.dumps(sys.path), function, json.dumps(arguments), str(answer)]
        try:
            done = subprocess.run(
                command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout_s
            )
        except subprocess.TimeoutExpired as error:
            raise ChildFailed(f"it took more than {timeout_s:.0f} s", _tail(error.output), lasting=False) from None
        report = _read(answer)
    if report is None:
        # SIGKILL is what the kernel sends where memory runs out
        raise ChildFailed(_how_it_ended(done.returncode), _tail(done.stdout), lasting=done.returncode != -9)
    if report.error is not None:
        rebuilt = from_wire(report.error)
        rebuilt.detail = rebuilt.detail or _tail(done.stdout)
        raise rebuilt
    return report.result


def _read(answer: Path) -> Any:
    try:
        return _Report(*json.loads(answer.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _how_it_ended(status: int) -> str:
    return f"its process was ended by signal {-status}" if status < 0 else f"its process ended with status {status} and no answer"


def _tail(output: Any) -> str:
    return (output or b"").decode("utf-8", "replace")[-_DETAIL_CHARACTERS:]


def main(function: str, arguments: str, answer: str) -> None:
    """What runs in the child: call the function and write what it returned or raised."""
    from importlib import import_module

    module, _, name = function.partition(":")
    try:
        report = _Report(getattr(import_module(module), name)(*json.loads(arguments)), None)
    except HubError as error:
        report = _Report(None, to_wire(error))
    Path(answer).write_text(json.dumps(report), encoding="utf-8")
