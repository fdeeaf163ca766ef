"""A Debian of its own for tests: systemd in a container of systemd-nspawn, with a private network; nothing of this machine changes."""

import os
import shlex
import subprocess
import time
from pathlib import Path

import pytest

from tests.operations.programs import MISSING, program

_BOOT_TIMEOUT_S = 90
_COMMAND_TIMEOUT_S = 900
#: keeps the folder and the variables of a shell for the next command
_STATE = "/root/.state"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Machine:
    """A running Debian.

    Args:
        root: holds a Debian with systemd.
        log: what it writes to its console.
    """

    def __init__(self, root: Path, log: Path) -> None:
        self.root, self._log = root, log
        self._was_up = False
        self.boot()

    def boot(self) -> None:
        """Start it, at first or after :meth:`stop`."""
        root, log = self.root, self._log
        command = [program("systemd-nspawn"), f"--directory={root}", "--boot", "--register=no", "--private-network", "--console=pipe"]
        command += [
            f"--machine=test-{os.getpid()}-{time.monotonic_ns()}",
            *([] if Path("/run/systemd/system").is_dir() else ["--keep-unit"]),
        ]
        with log.open("wb") as output:
            self._nspawn = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        self._wait()

    def _wait(self) -> None:
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        deadline = time.monotonic() + _BOOT_TIMEOUT_S
        while self._nspawn.poll() is None and time.monotonic() < deadline:
            found = children.read_text().split()
            if found:
                self.leader = int(found[0])
                state = subprocess.run(self.command(["systemctl", "is-system-running"]), capture_output=True, text=True, check=False)
                if state.stdout.strip() in ("running", "degraded"):
                    self._was_up = True
                    return
            time.sleep(0.2)
        self.stop()
        assert not self._was_up, f"it did not boot again:\n{self._log.read_text()[-2000:]}"
        pytest.skip(f"{MISSING} can boot a Debian here: systemd-nspawn says {self._log.read_text()[-300:]!r}")

    def command(self, words: list[str], *, online: bool = False) -> list[str]:
        """Return the command line that runs a program in it.

        Args:
            words: the program and its arguments.
            online: with the network of this machine in place of its own, for downloads.
        """
        spaces = ["--mount", "--pid", "--uts", "--ipc", "--cgroup", *([] if online else ["--net"])]
        return ["nsenter", f"--target={self.leader}", *spaces, "--root", "--wd", "env", "-i", f"PATH={_PATH}", "HOME=/root", *words]

    def run(self, command: str, *, online: bool = False, **environ: str) -> str:
        """Run a command in the root's shell, which goes on where the command before ended; return what it printed.

        Fails the test if it fails.
        """
        keep = f"status=$?; {{ export -p; printf 'cd %q\\n' \"$PWD\"; }} > {_STATE}; exit $status"
        variables = [f"{key}={value}" for key, value in environ.items()]
        words = ["env", *variables, "LANG=C.UTF-8", "bash", "-c", f"cd; [ ! -e {_STATE} ] || . {_STATE}\n{command}\n{keep}"]
        done = subprocess.run(
            self.command(words, online=online),
            capture_output=True,
            text=True,
            timeout=_COMMAND_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{command}:\n{(done.stdout + done.stderr)[-4000:]}\n{self.journal()}"
        return done.stdout

    def journal(self) -> str:
        """Return the last lines of the services' logs."""
        command = self.command(["journalctl", "--no-pager", "-n", "40"])
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout

    def start(self, words: list[str], log: Path) -> "subprocess.Popen[bytes]":
        """Start a program in it."""
        with log.open("wb") as output:
            return subprocess.Popen(self.command(words), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)

    def stop(self) -> None:
        """End everything in it."""
        if self._nspawn.poll() is None:
            self._nspawn.terminate()
        try:
            self._nspawn.wait(30)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait(30)


def install(root: Path, packages: list[str]) -> None:
    """Install Debian packages in a root that does not run; fail the test if that fails."""
    quoted = shlex.quote(str(root))
    apt = f"apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends {shlex.join(packages)}"
    script = f"mount --rbind /proc {quoted}/proc && mount --rbind /dev {quoted}/dev && exec chroot {quoted} sh -c {shlex.quote(apt)}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
