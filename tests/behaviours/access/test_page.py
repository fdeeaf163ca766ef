"""The commands of docs/access.md, in their order, in one shell."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.behaviours.test_readme import SHOWN_PORT, blocks, steps
from tests.conftest import MODULES, ROOT, free_port, hub

PAGE = ROOT / "docs" / "access.md"
#: what differs from time to time
VARIES = ((r"\b[0-9a-f]{10}\b", "ID"), (r"\d{4}-\d\d-\d\d \d\d:\d\d", "DATE"), (r" +", " "))
END = "-- end of the command --"


class Shell:
    """A shell in which commands are typed one after the other."""

    def __init__(self, place: Path, home: Path) -> None:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self._shell = subprocess.Popen(
            ["bash"],
            cwd=place,
            env={**os.environ, "PATH": path, "HUB_HOME": str(home)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, command: str) -> str:
        """What a command prints; of one in the background, nothing."""
        assert self._shell.stdin, "it is a pipe"
        assert self._shell.stdout, "it is a pipe"
        if command.endswith("&"):
            command = command.removesuffix("&") + " > server.log 2>&1 &"
        self._shell.stdin.write(f"{command}\necho; echo '{END}'\n")
        self._shell.stdin.flush()
        printed = []
        for line in self._shell.stdout:
            if line == END + "\n":
                return "".join(printed).rstrip("\n")
            printed.append(line)
        raise AssertionError(f"the shell ended: {''.join(printed)}")

    def end(self) -> None:
        os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.communicate()


@pytest.fixture
def shell(tmp_path: Path, home: Path) -> Iterator[Shell]:
    assert hub("install", MODULES / "shout", home=home).returncode == 0
    shell = Shell(tmp_path, home)
    yield shell
    shell.end()


def plain(text: str) -> str:
    for pattern, word in VARIES:
        text = re.sub(pattern, word, text)
    return text.strip()


def test_the_page_is_true(shell: Shell) -> None:
    port, count = str(free_port()), 0
    for block in blocks("console", PAGE.read_text("utf-8")):
        for command, shown in steps(block):
            typed = command.replace(SHOWN_PORT, port).replace("hub serving start", f"hub serving start -p {port}")
            printed = shell.run(typed).splitlines()
            count += 1
            if shown:
                assert [plain(line) for line in printed] == [plain(line) for line in shown], command
            elif "create" in command:
                assert "shown only now" in "".join(printed)
    assert count > 10
