"""Call functions in a separate process: their imports cost this process no memory, and their crashes do not end it."""

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, List, Mapping, NamedTuple, Optional, Type

from hubserve.errors import HubError, LoadFailed, from_wire, to_wire

#: The child sees this process's import path as it is now, however that came about.
_START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]) or sys.path; "
    "from hubserve.engines.subprocess_call import main; main(sys.argv[2], sys.argv[3], sys.argv[4])"
)
_START_CONVERSATION = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from hubserve.engines.subprocess_call import converse; converse(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]))"
)
_DETAIL_CHARACTERS = 2000
#: a child whose answers have ended is about to end itself
_ENDING_S = 10.0


class ChildFailed(LoadFailed):
    """The child did not finish its work.

    Attributes:
        lasting: whether doing it again would fail again; not so for one that was killed or ran out of time.
    """

    def __init__(self, message: str, detail: str = "", lasting: bool = True) -> None:
        super().__init__(message, detail)
        self.lasting = lasting


class Interpreter(NamedTuple):
    """Python to run a child in.

    Attributes:
        executable: its path.
        environ: all environment variables of the child; hubserve must be importable with them.
    """

    executable: str
    environ: Mapping[str, str]


class _Report(NamedTuple):
    result: Any
    error: Any


def call_in_child(function: str, arguments: List[Any], timeout_s: float, python: Optional[Interpreter] = None) -> Any:
    """Call a function in a new process.

    Args:
        function: ``"package.module:function"``.
        arguments: its arguments; they and the result must be JSON.
        timeout_s: after this the child is killed.
        python: the Python of the child; None for this one with its import path as it is now.
    Raises:
        HubError: the one that the function raised.
        ChildFailed: the process ended or hung before it had an answer.
    """
    with tempfile.TemporaryDirectory(prefix="hubserve-child-") as folder:
        answer = Path(folder) / "answer.json"
        paths = json.dumps([] if python else sys.path)
        command = [python.executable if python else sys.executable, "-c", _START, paths, function, json.dumps(arguments), str(answer)]
        try:
            done = subprocess.run(
                command,
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout_s,
                env=dict(python.environ) if python else None,
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


class Conversation:
    """Run a generator function in a new process of this Python, which ends with it.

    Args:
        function: ``"package.module:function"``; values that it yields are received here, values sent to it go there, as JSON.
        arguments: its arguments, as JSON.
        timeout_s: for each answer; after this the child is killed.
    """

    def __init__(self, function: str, arguments: List[Any], timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the conversation
        asked, self._questions = os.pipe()
        self._answers, answered = os.pipe()
        self._received = b""
        paths, given = json.dumps(sys.path), json.dumps(arguments)
        command = [sys.executable, "-c", _START_CONVERSATION, paths, function, given, str(asked), str(answered)]
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=self._said, stderr=subprocess.STDOUT, pass_fds=(asked, answered)
            )
        finally:
            os.close(asked)
            os.close(answered)

    def __enter__(self) -> "Conversation":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]) -> None:
        self.close()

    def close(self) -> None:
        """End the child; does nothing if it has already ended."""
        if self._said.closed:
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._questions, self._answers):
            os.close(pipe)
        self._said.close()

    def answer(self) -> Any:
        """Return the next value that the generator yields.

        Raises:
            HubError: the one that it raised.
            ChildFailed: the process ended or hung before it had an answer.
        """
        line = self._line(time.monotonic() + self._timeout_s)
        try:
            report = _Report(*json.loads(line))
        except (ValueError, TypeError):
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_ENDING_S)
            self._process.kill()
            self._process.wait()
            raise ChildFailed(_how_it_ended(self._process.returncode), self._tail(), lasting=self._process.returncode != -9) from None
        if report.error is not None:
            rebuilt = from_wire(report.error)
            rebuilt.detail = rebuilt.detail or self._tail()
            raise rebuilt
        return report.result

    def ask(self, question: Any) -> Any:
        """Send a value to the generator, and return the next value that it yields; as :meth:`answer`."""
        with suppress(OSError):  # it has ended, as reading its answer reports
            os.write(self._questions, json.dumps(question).encode() + b"\n")
        return self.answer()

    def _line(self, deadline: float) -> bytes:
        while b"\n" not in self._received:
            if not select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))[0]:
                self._process.kill()
                raise ChildFailed(f"it took more than {self._timeout_s:.0f} s", self._tail(), lasting=False)
            more = os.read(self._answers, 1 << 16)
            if not more:
                return b""
            self._received += more
        line, _, self._received = self._received.partition(b"\n")
        return line

    def _tail(self) -> str:
        self._said.seek(0)
        return _tail(self._said.read())


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
    """Call the function, in the child, and write its result or exception."""
    from importlib import import_module

    module, _, name = function.partition(":")
    try:
        report = _Report(getattr(import_module(module), name)(*json.loads(arguments)), None)
    except HubError as error:
        report = _Report(None, to_wire(error))
    Path(answer).write_text(json.dumps(report), encoding="utf-8")


def converse(function: str, arguments: str, questions: int, answers: int) -> None:
    """Run in the child of a :class:`Conversation` until the parent stops asking."""
    from importlib import import_module

    def tell(report: _Report) -> None:
        sys.stdout.flush()  # the parent may read it as soon as it has the report
        os.write(answers, json.dumps(report).encode() + b"\n")

    module, _, name = function.partition(":")
    try:
        generator = getattr(import_module(module), name)(*json.loads(arguments))
        tell(_Report(next(generator), None))
        with open(questions, encoding="utf-8") as asked:
            for line in asked:
                tell(_Report(generator.send(json.loads(line)), None))
    except HubError as error:
        tell(_Report(None, to_wire(error)))
