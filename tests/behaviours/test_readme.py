"""Runs what the README and the tour of the commands show, in their order, in an empty home."""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, free_port, share_engine_cache, wait_for

SHOWN_PORT = "8866"
#: stands for what differs from machine to machine, or is left out
GAP = "..."


def blocks(language: str, text: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def steps(block: str) -> list[tuple[str, list[str]]]:
    """Each shown command with the lines that are shown below it."""
    found: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def shown_in(printed: str, line: str) -> bool:
    """Whether the parts of a shown line stand in what was printed, in their order."""
    parts = [re.escape(part) for part in line.strip().split(GAP)]
    return re.search(".*".join(parts), printed) is not None


class Shell:
    """Types commands as a reader would; ``&`` leaves a server running."""

    def __init__(self, place: Path, home: Path) -> None:
        self.place, self.port = place, str(free_port())
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environ = {**os.environ, "HOME": str(home), "PATH": path}
        self.environ.pop("HUB_HOME", None)
        self.servers: list[subprocess.Popen[bytes]] = []

    def run(self, command: str) -> str:
        command = command.replace(SHOWN_PORT, self.port)
        if command.endswith("&"):
            words = ["bash", "-c", "exec " + command.removesuffix("&")]
            self.servers.append(subprocess.Popen(words, cwd=self.place, env=self.environ, stderr=subprocess.DEVNULL))
            wait_for(self._is_open)
            return ""
        done = subprocess.run(["bash", "-c", command], cwd=self.place, env=self.environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout.replace(self.port, SHOWN_PORT)

    def kill_servers(self) -> None:
        for server in self.servers:
            server.kill()
            server.wait()

    def _is_open(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", int(self.port))) == 0


@pytest.fixture
def shell(tmp_path: Path, model_dir: Path, cat_photo: Path, engine_cache: Path) -> Iterator[Shell]:
    """A copy of what the README's commands touch, and the module that it shows."""
    place = tmp_path / "clone"
    place.mkdir()
    for name in ("hubmodules", "deploy", "tools"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    (place / "inference").symlink_to(model_dir)
    (place / ".demo").mkdir()
    shutil.copy(cat_photo, place / ".demo" / "cat.png")
    config = place / "deploy" / "config.json"
    shell = Shell(place, tmp_path / "home")
    share_engine_cache(tmp_path / "home" / ".paddlehub", engine_cache)
    config.write_text(config.read_text().replace(SHOWN_PORT, shell.port))
    try:
        yield shell
    finally:
        shell.kill_servers()


@pytest.mark.parametrize("readme", ["README.md", pytest.param("README.zh.md", marks=pytest.mark.slow)])
def test_every_command_of_the_readme_works_and_prints_what_is_shown(shell: Shell, readme: str) -> None:
    text = (ROOT / readme).read_text("utf-8")
    (module,) = blocks("python", text)
    (shell.place / "hello").mkdir()
    (shell.place / "hello" / "__init__.py").touch()
    (shell.place / "hello" / "module.py").write_text(module)
    follow(shell, text)


def test_every_command_of_the_tour_works_and_prints_what_is_shown(shell: Shell) -> None:
    follow(shell, (ROOT / "docs" / "tour.md").read_text("utf-8"))


def follow(shell: Shell, text: str) -> None:
    """Run the shown commands, block by block, and look for what is shown in what they print."""
    ran = 0
    for block in blocks("console", text):
        for command, shown in steps(block):
            printed = shell.run(command)
            for line in shown:
                assert shown_in(printed, line.replace("~", shell.environ["HOME"])), f"{command}\n{line}\n{printed}"
            ran += 1
        for server in shell.servers:  # the next block starts its own on the same port
            server.terminate()
            server.wait(60)
    assert ran >= 12


def test_both_readmes_show_the_same_commands() -> None:
    english, chinese = ((ROOT / name).read_text("utf-8") for name in ("README.md", "README.zh.md"))
    for language in ("console", "python", "json"):
        assert blocks(language, english) == blocks(language, chinese) != []


def test_the_demo_shows_the_cat(model_dir: Path) -> None:
    demo = subprocess.run([sys.executable, "tools/demo.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "class_ids: [285, 281, 282, 287, 284]" in demo.stdout
    assert '"label_names":["Egyptian cat"' in demo.stdout
