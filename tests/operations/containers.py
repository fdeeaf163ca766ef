"""Run the steps of a Dockerfile without an engine: each stage in a root of its own, made by debootstrap."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from hubserve.registry.environments.interpreters import find_pythons
from tests.operations.programs import MISSING, program, root_only

#: Debian's release with each Python
_SUITES = {(3, 11): "bookworm", (3, 13): "trixie"}
_MIRROR = "http://deb.debian.org/debian"
_STEP_TIMEOUT_S = 1500


def debian_root(folder: Path) -> Path:
    """Make a root with Debian and the Python that runs the tests; skip the test where that is not possible."""
    root_only()
    suite = _SUITES.get(sys.version_info[:2])
    if suite is None:
        pytest.skip(f"{MISSING} of Debian is Python {sys.version_info[0]}.{sys.version_info[1]}: run the tests with 3.11 or 3.13")
    command = [program("debootstrap"), "--variant=minbase", "--include=ca-certificates,python3,python3-venv", suite, str(folder), _MIRROR]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_STEP_TIMEOUT_S, check=False)
    if done.returncode:
        pytest.skip(f"{MISSING} can make a root here: debootstrap says {(done.stdout + done.stderr).strip()[-300:]}")
    for each in ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt"):
        if Path(each).is_file():
            shutil.copyfile(each, folder / each.lstrip("/"))
    return folder


def python_folder(minor: str) -> Path:
    """Return the folder of a Python of this machine that can be copied, such as one of pyenv."""
    found = find_pythons(Path(os.devnull), remember=False)
    path = next((each.path for each in found if each.minor == minor and "/versions/" in each.path), None)
    if path is None:
        pytest.skip(f"{MISSING} is Python {minor} in a folder of its own, such as pyenv's")
    return Path(path).resolve().parent.parent


def steps(dockerfile: str) -> Iterator[tuple[str, str]]:
    """Yield each instruction of a Dockerfile and its words."""
    text = "\n".join(line for line in dockerfile.splitlines() if not line.lstrip().startswith("#"))
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if line.strip():
            instruction, _, words = line.strip().partition(" ")
            yield instruction, words.strip()


class Stage:
    """One stage: its root, its variables, and what a container of it runs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environ = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
        self.arguments: dict[str, str] = {}
        self.shell = ["/bin/sh", "-c"]
        self.user, self.folder = "0:0", "/"
        self.entrypoint: list[str] = []
        self.command: list[str] = []
        self.health: list[str] = []

    def call(self, command: Sequence[str], user: str | None = None, **environ: str) -> list[str]:
        """Return the command line that runs a command in the root, with its own mounts of /proc and /dev."""
        root = shlex.quote(str(self.root))
        variables = {**self.environ, **environ}
        inner = ["env", "-i", *(f"{key}={value}" for key, value in variables.items()), *command]
        mounts = f"mount --rbind /proc {root}/proc && mount --rbind /dev {root}/dev && mount -t tmpfs -o mode=1777 tmpfs {root}/tmp"
        here = f"cd {shlex.quote(self.folder)} && exec {shlex.join(inner)}"
        chroot = shlex.join(["chroot", f"--userspec={user or self.user}", str(self.root), "/bin/sh", "-c", here])
        return ["unshare", "--mount", "/bin/sh", "-c", f"{mounts} && exec {chroot}"]

    def run(self, command: Sequence[str], **environ: str) -> None:
        """Run a command in the root; fail the test if it fails."""
        done = subprocess.run(self.call(command, **environ), capture_output=True, text=True, timeout=_STEP_TIMEOUT_S, check=False)
        assert done.returncode == 0, f"{shlex.join(command)}:\n{(done.stdout + done.stderr)[-4000:]}"


class Build:
    """The stages of a Dockerfile, built from the files beside it.

    Args:
        folder: holds the Dockerfile.
        base: root that stands for every image.
        scratch: an empty folder for the stages.
    """

    def __init__(self, folder: Path, base: Path, scratch: Path) -> None:
        self._folder, self._base, self._scratch = folder, base, scratch
        self.stages: dict[str, Stage] = {}
        self.last: Stage
        self._arguments: dict[str, str] = {}
        for instruction, words in steps((folder / "Dockerfile").read_text("utf-8")):
            getattr(self, f"_{instruction.lower()}")(words)

    def _from(self, words: str) -> None:
        image, _, name = words.rpartition(" AS ")
        root = self._scratch / name
        subprocess.run(["cp", "-a", "--reflink=auto", str(self._base), str(root)], check=True)
        minor = re.match(r"python:(3\.\d+)-", image)
        if minor:  # the image of another Python has it in /usr/local
            subprocess.run(["cp", "-a", f"{python_folder(minor[1])}/.", str(root / "usr" / "local")], check=True)
        self.last = self.stages[name] = Stage(root)

    def _arg(self, words: str) -> None:
        name, _, value = words.partition("=")
        arguments = self.last.arguments if self.stages else self._arguments
        value = os.environ.get(name, value)  # as --build-arg NAME takes it from the client's environment
        if value:
            arguments[name] = value

    def _env(self, words: str) -> None:
        for name, value in (each.split("=", 1) for each in shlex.split(words)):
            self.last.environ[name] = re.sub(r"\$(\w+)", lambda found: self.last.environ.get(found[1], ""), value)

    def _shell(self, words: str) -> None:
        self.last.shell = json.loads(words)

    def _run(self, words: str) -> None:
        network = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_")) or name.endswith("_proxy")}
        network.pop("PIP_FIND_LINKS", None)
        self.last.run([*self.last.shell, words], DEBIAN_FRONTEND="noninteractive", **network, **self.last.arguments)

    def _copy(self, words: str) -> None:
        source, folder = words, self._folder
        if words.startswith("--from="):
            name, source = words.removeprefix("--from=").split(" ", 1)
            folder = self.stages[name].root
        *sources, target = source.split()
        for each in sources:
            path, to = folder / each.lstrip("/"), self.last.root / target.lstrip("/")
            if path.is_dir():
                to.mkdir(parents=True, exist_ok=True)
                subprocess.run(["cp", "-a", f"{path}/.", str(to)], check=True)
            else:
                to = to / path.name if target.endswith("/") else to
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, to)

    def _user(self, words: str) -> None:
        self.last.user = words

    def _workdir(self, words: str) -> None:
        self.last.folder = words

    def _entrypoint(self, words: str) -> None:
        self.last.entrypoint = json.loads(words)

    def _cmd(self, words: str) -> None:
        self.last.command = json.loads(words)

    def _healthcheck(self, words: str) -> None:
        self.last.health = json.loads(words.partition("CMD ")[2])

    def _expose(self, words: str) -> None:
        assert all(each.isdigit() for each in words.split())

    def _stopsignal(self, words: str) -> None:
        assert words == "SIGTERM"
