"""Import a module once in a process of its own before it is put in place, to find missing packages at install time."""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from hubserve.errors import HubError, LoadFailed, from_wire
from hubserve.registry.environments.launch import Launch
from hubserve.registry.instance_command import instance_command, instance_environment

_OUTPUT_KEPT_BYTES = 64 << 10


def check_import(
    folder: Path,
    import_name: str,
    kind: str,
    *,
    home: Path,
    search_path: Sequence[Path] = (),
    timeout_s: float = 120,
    launched: Launch | None = None,
    origin: Path | None = None,
) -> None:
    """Import a module in a child process, which is always ended.

    Args:
        folder: the module's files.
        import_name: the package name under which they are imported.
        kind: the kind of module.
        home: where installed modules are.
        search_path: folders in which relative model paths are looked up.
        timeout_s: how long it may take.
        launched: the Python and its environment variables; this process's where None.
        origin: the folder on this machine that it is installed from, beside which its imports are found, too.
    Raises:
        HubError: the error that the child reported, usually LoadFailed or MissingDependency.
        LoadFailed: the child took too long, died, or ended without a report.
    """
    launched = launched or Launch()
    options = ["--check", str(folder), "--import-name", import_name, "--kind", kind, *(["--origin", str(origin)] if origin else [])]
    command = instance_command(*options, python=launched.python)
    # The check must not leave bytecode in the folder that will be installed.
    environment = {**instance_environment(home, search_path, launched.python), **launched.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        child = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, start_new_session=True)
        code = _wait(child, timeout_s, import_name, stderr)
        if code != 0:
            raise _failure(code, _tail(stdout), _tail(stderr), import_name)


def _wait(child: subprocess.Popen[bytes], timeout_s: float, name: str, stderr: IO[bytes]) -> int:
    try:
        return child.wait(timeout_s)
    except subprocess.TimeoutExpired:
        raise LoadFailed(
            f"importing '{name}' took more than {timeout_s:g} s, so it was stopped. Does its module.py download or compute at import? "
            "Move that into the constructor, or give it more time: hub config install.check_timeout_s==SECONDS",
            _tail(stderr),
        ) from None
    finally:
        _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child and its child processes; its session has no other members."""
    with suppress(ProcessLookupError, PermissionError):  # PermissionError: on some systems for a process that has ended
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _failure(code: int, stdout: str, stderr: str, name: str) -> HubError:
    for line in reversed(stdout.splitlines()):
        try:
            report = json.loads(line)
        except ValueError:
            continue
        if isinstance(report, dict) and "code" in report and "message" in report:
            return from_wire(report)
    how = f"was killed by {_signal_name(-code)}" if code < 0 else f"ended with exit code {code}"
    last = next((line.strip() for line in reversed(stderr.splitlines()) if line.strip()), "nothing")
    return LoadFailed(
        f"importing '{name}' failed: its process {how} and wrote: {last[:300]}. Fix the module's import, then install it again.", stderr
    )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _tail(file: IO[bytes]) -> str:
    size_bytes = file.seek(0, os.SEEK_END)
    file.seek(max(0, size_bytes - _OUTPUT_KEPT_BYTES))
    return file.read().decode("utf-8", "replace")
