"""Run the ``git`` of this machine in one repository: no hooks, no questions, no submodules, with time and size limits."""

import os
import subprocess
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from hubserve.errors import InstallError
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.downloads.addresses import without_secrets
from hubserve.registry.progress import Progress

_POLL_INTERVAL_S = 0.1
#: variables that users set on purpose; git's other variables come from a surrounding hook, and name another repository
_KEPT_VARIABLES = ("GIT_SSL_CAINFO", "GIT_SSH_COMMAND", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM")
#: overrides what a repository or a surrounding hook configures
_CONFIG = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.symlinks": "true",
    "submodule.recurse": "false",
    "fetch.recurseSubmodules": "false",
    "protocol.ext.allow": "never",
    "advice.detachedHead": "false",
    "gc.auto": "0",
    "maintenance.auto": "false",
}


class GitCommand:
    """The git command in one folder, for one remote repository.

    Args:
        folder: the working tree.
        url: the remote repository.
        ref: what is fetched, for error messages; "" for the default branch.
        settings: limit time and size.
        progress: called as it proceeds.
    """

    def __init__(self, folder: Path, url: str, ref: str, settings: InstallSettings, progress: Progress) -> None:
        self._folder, self._url, self._ref = folder, url, ref
        self._settings, self._progress = settings, progress
        self._shown = without_secrets(url)

    def run(self, *words: str) -> None:
        """Run a command while it makes progress and stays within the size limit.

        Raises:
            InstallError: it failed; the detail has git's output.
        """
        log_file = self._folder.with_name(self._folder.name + ".log")
        try:
            with log_file.open("w+b") as log, self._started(words, log) as process:
                self._wait(process, log)
                if process.returncode:
                    log.seek(0)
                    raise self._failed(log.read()[-4000:].decode("utf-8", "replace"))
        finally:
            with suppress(FileNotFoundError):
                log_file.unlink()

    def output(self, *words: str, may_fail: bool = False) -> str:
        """Return the output of a command; "" if it failed and may do so.

        Raises:
            InstallError: it failed.
        """
        with self._started(words, subprocess.PIPE) as process:
            output, _ = process.communicate(timeout=self._settings.fetch_timeout_s)
        if process.returncode and not may_fail:
            raise self._failed(f"it has no {self._ref or 'commit'}")
        return str(output.decode("utf-8", "replace")).strip()

    def records(self, *words: str) -> Generator[bytes, None, None]:
        """Yield the records, separated by zero bytes, of a command's output."""
        with self._started(words, subprocess.PIPE) as process:
            rest = b""
            while process.stdout and (chunk := process.stdout.read(1 << 16)):
                *lines, rest = (rest + chunk).split(b"\0")
                yield from lines

    @contextmanager
    def _started(self, words: Sequence[str], output: int | IO[bytes]) -> Iterator["subprocess.Popen[bytes]"]:
        options = [each for key, value in _CONFIG.items() for each in ("-c", f"{key}={value}")]
        timeout = ["-c", "http.lowSpeedLimit=1000", "-c", f"http.lowSpeedTime={self._settings.fetch_timeout_s}"]
        errors = subprocess.DEVNULL if output == subprocess.PIPE else subprocess.STDOUT
        try:
            process = subprocess.Popen(
                ["git", *options, *timeout, *words],  # noqa: S607 - the one on the user's PATH
                cwd=self._folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise InstallError(
                f"'{self._shown}' cannot be fetched: there is no command 'git' on this machine. Install git, or give an archive."
            ) from None
        try:
            yield process
        finally:
            _kill(process)

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_") or key in _KEPT_VARIABLES}
        return {
            "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
            **kept,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "true",
            "SSH_ASKPASS": "true",
            "GIT_ALLOW_PROTOCOL": self._url.partition("://")[0],
            "GIT_CEILING_DIRECTORIES": str(self._folder.parent),
            "LC_ALL": "C",
        }

    def _wait(self, process: "subprocess.Popen[bytes]", log: IO[bytes]) -> None:
        """Wait for git while its output or its files grow, up to the size limit."""
        settings, last, since = self._settings, (0, 0), time.monotonic()
        while True:
            with suppress(subprocess.TimeoutExpired):
                process.wait(_POLL_INTERVAL_S)
                return
            now = (_used_bytes(self._folder), os.fstat(log.fileno()).st_size)
            self._progress("fetching with git", now[0])
            if now != last:
                last, since = now, time.monotonic()
            if now[0] > 2 * settings.max_bytes:
                raise self._failed(f"it is over {settings.max_bytes} bytes; hub config install.max_bytes==NUMBER raises the limit")
            if time.monotonic() - since > settings.fetch_timeout_s:
                raise self._failed(
                    f"git made no progress for {settings.fetch_timeout_s} s; hub config install.fetch_timeout_s==SECONDS waits longer"
                )

    def _failed(self, output: str) -> InstallError:
        output = output.replace(self._url, self._shown)
        lines = [each.strip() for each in output.replace("\r", "\n").splitlines() if each.strip()]
        said = next((each for each in lines if each.startswith(("fatal:", "error:"))), lines[-1] if lines else "it printed nothing")
        ref = f" at {self._ref!a}" if self._ref else ""
        return InstallError(
            f"git cannot fetch '{self._shown}'{ref}: {said[:300].rstrip('.')}. Check both; a private repository needs a credential helper "
            "or ssh.",
            output,
        )


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """End git and its child processes (its session has no other members), and reap it."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, 9)
    process.wait()
    if process.stdout:
        process.stdout.close()


def _used_bytes(folder: Path) -> int:
    total_bytes = 0
    for base, _folders, files in os.walk(folder):
        for each in files:
            with suppress(OSError):  # git renames finished files
                total_bytes += Path(base, each).lstat().st_size
    return total_bytes
