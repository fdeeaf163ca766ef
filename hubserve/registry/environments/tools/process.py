"""Run a tool to its end: show its output as progress, and keep it for the message of a failure."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from hubserve.errors import InstallError
from hubserve.registry.progress import Progress

#: the kernel ends the tool when this process is killed, so that it does not go on in a folder that another build may use
_START = (
    "import ctypes, os, sys\n"
    "try:\n    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)\n"
    "except (OSError, AttributeError):\n    pass\n"
    "os.getppid() == int(sys.argv[1]) or os._exit(1)\n"
    "os.execv(sys.argv[2], sys.argv[2:])"
)
#: packages from before 2022 require scikit-learn by a deprecated name, whose package builds only if this is set
_OLD_PACKAGES = {"SKLEARN_ALLOW_DEPRECATED_SKLEARN_PACKAGE_INSTALL": "True"}
#: what packages from before 2025 fail with in a build, and the remedy
_OLD_SETUP = "No module named 'pkg_resources'"
_SETUPTOOLS_WITH_PKG_RESOURCES = "setuptools<81"
_BUILD_CONSTRAINTS = ("UV_BUILD_CONSTRAINT", "PIP_BUILD_CONSTRAINT", "PIP_CONSTRAINT")
_STYLE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_LINES_KEPT = 2000
_STEP_CHARACTERS = 90
_REASON_LINES = 12
_LINE_CHARACTERS = 300
_NOISE = re.compile(r"^(\[notice\]|WARNING: |warning: |Looking in |hint: See above)|\u2501|^([+~-] )?[A-Za-z0-9._-]+(==\S+| @ .*)$")
#: characters of the tree in which uv draws reasons
_DRAWN = " \t│╰╭╯├─▶\u00d7"
_BEGINS = re.compile("^\\s*(ERROR|error|fatal|\u00d7)")

_DOWNLOAD_BEGINS = re.compile(r"\s*Downloading (\S+) \(([\d.]+) ?([kMG]i?)?B\)", re.IGNORECASE)
_DOWNLOAD_ENDS = re.compile(r"\s*Downloaded (\S+)")
_UNITS = {"": 1, "k": 1000, "ki": 1024, "m": 1000**2, "mi": 1024**2, "g": 1000**3, "gi": 1024**3}


class ToolFailed(Exception):
    """Failure of a tool.

    Attributes:
        output: the last lines of its output.
        status: its exit status.
    """

    def __init__(self, output: str, status: int) -> None:
        super().__init__(reason_in(output) or f"it ended with status {status} and printed nothing")
        self.output = output
        self.status = status


def run_tool(command: Sequence[str], environ: Mapping[str, str], folder: Path, progress: Progress, step: str) -> None:
    """Run a command; it and all processes that it starts have ended when this returns or raises.

    If a package cannot be built because its ``setup.py`` imports pkg_resources, it is tried once more with setuptools that have it.

    Args:
        command: an absolute path and arguments.
        environ: environment variables in addition to this process's.
        folder: the working directory.
        progress: called with ``step`` and the tool's output.
        step: name of the step, such as ``resolving packages``.
    Raises:
        ToolFailed: the command failed; the message is its reason.
        OSError: the command cannot be started.
    """
    try:
        _run_once(command, environ, folder, progress, step)
    except ToolFailed as error:
        if _OLD_SETUP not in error.output:
            raise
        with tempfile.TemporaryDirectory(prefix="hubserve-build-") as scratch:
            constraint = Path(scratch, "build-constraints.txt")
            constraint.write_text(_SETUPTOOLS_WITH_PKG_RESOURCES + "\n", "utf-8")
            # older pips take the constraints of builds from PIP_CONSTRAINT
            named = {name: f"{os.environ.get(name, '')} {constraint}".strip() for name in _BUILD_CONSTRAINTS}
            _run_once(command, {**environ, **named}, folder, progress, step)


def _run_once(command: Sequence[str], environ: Mapping[str, str], folder: Path, progress: Progress, step: str) -> None:
    progress(step)
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON") and key != "VIRTUAL_ENV"}
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _START, str(os.getpid()), *command],
        env={**inherited, **_OLD_PACKAGES, **environ, "NO_COLOR": "1", "TERM": "dumb", "PYTHONUNBUFFERED": "1"},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    downloads = Downloads()
    kept: deque[str] = deque(maxlen=_LINES_KEPT)
    try:
        assert child.stdout is not None, "it is a pipe"
        with child.stdout as output:
            for raw in output:
                line = _STYLE.sub("", raw.decode("utf-8", "replace")).rstrip()
                kept.append(line)
                amount = downloads.after(line)
                if line.strip() and not _NOISE.search(line.strip()):
                    progress(f"{step}: {' '.join(line.split())[:_STEP_CHARACTERS]}", *amount)
        status = child.wait()
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    if status != 0:
        raise ToolFailed("\n".join(kept), status)


class Downloads:
    """Progress of downloads, read from a tool's output: uv reports the begin and end of each, pip only the begin."""

    def __init__(self) -> None:
        self._begun: dict[str, int] = {}
        self._ended: set[str] = set()
        self._names_ends = False

    def after(self, line: str) -> tuple[int, int]:
        """Process another line; return the downloaded bytes and the total bytes of the packages reported so far."""
        if begins := _DOWNLOAD_BEGINS.match(line):
            self._begun[begins[1]] = int(float(begins[2]) * _UNITS[(begins[3] or "").lower()])
        elif ends := _DOWNLOAD_ENDS.match(line):
            self._names_ends = True
            self._ended.add(ends[1])
        if self._names_ends:
            done = sum(size for name, size in self._begun.items() if name in self._ended)
        else:  # one after the other: all but the last are complete
            done = sum(list(self._begun.values())[:-1])
        return done, sum(self._begun.values())


@contextmanager
def install_errors(
    what: str, remedy: str = "Correct the cause and try again.", subject: str = "the module's environment"
) -> Iterator[None]:
    """Turn the failure of a tool into an error for the user.

    Args:
        what: what failed, such as ``cannot be made``.
        remedy: what the user can do.
        subject: whose environment it is.
    Raises:
        InstallError: the tool failed; the message has its reason, the detail its output.
    """
    try:
        yield
    except ToolFailed as error:
        raise InstallError(f"{subject} {what}: {str(error).rstrip('.')}. {remedy}", error.output) from None


def reason_in(output: str) -> str:
    """Return the lines of a tool's output that give the reason of its failure, joined into one."""
    lines = [line for line in output.splitlines() if line.strip() and not _NOISE.search(line.strip())]
    begin = next((index for index, line in enumerate(lines) if _BEGINS.match(line)), max(0, len(lines) - _REASON_LINES))
    kept = [" ".join(line.strip(_DRAWN).split())[:_LINE_CHARACTERS] for line in lines[begin:]]
    kept = [line for line in kept if line]
    if len(kept) > _REASON_LINES:
        kept = [*kept[: _REASON_LINES - 4], "...", *kept[-3:]]
    # pip reports an unreachable index as a missing package
    unreachable = [line.strip()[:_LINE_CHARACTERS] for line in output.splitlines() if line.startswith("WARNING: Retrying")]
    return " ".join(kept + unreachable[-1:])
