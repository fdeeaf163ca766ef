"""``hub clear`` deletes the cache and leftovers only."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hubserve.registry.clear_cache import clear
from hubserve.registry.installer import Installer
from tests.unit.registry.toys import write_module


def test_cache_and_tmp_are_emptied_and_the_modules_stay(tmp_path: Path) -> None:
    installer = Installer(tmp_path / "home")
    installer.install(write_module(tmp_path / "src"), check=False)
    for place, size_bytes in (("cache/models/a", 1000), ("cache/b", 500), ("tmp/install-stale/c", 30), ("tmp/d", 4), ("conf/e", 9)):
        path = installer.home / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size_bytes))
    (installer.home / "cache" / "link").symlink_to(tmp_path / "src")
    freed = clear(installer.home)
    assert 1500 <= freed["cache"] < 1600
    assert freed["tmp"] >= 4
    assert list((installer.home / "cache").iterdir()) == list((installer.home / "tmp").iterdir()) == []
    assert (installer.home / "conf" / "e").exists()
    assert (tmp_path / "src" / "module.py").exists()
    assert installer.installed.versions("toy") == ["1.0.0"]
    assert clear(installer.home) == {"cache": 0, "tmp": 0}


def test_a_socket_of_a_running_server_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installer = Installer(tmp_path / "home")
    (installer.home / "tmp" / "server").mkdir(parents=True)
    monkeypatch.chdir(installer.home / "tmp" / "server")  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        clear(installer.home)
        assert (installer.home / "tmp" / "server" / "socket").is_socket()


def test_a_copy_that_another_process_serves_stays(tmp_path: Path) -> None:
    copies = tmp_path / "home" / "cache" / "remote"
    for name in ("served", "left"):
        (copies / name).mkdir(parents=True)
        (copies / name / "model.onnx").write_bytes(b"model")
    hold = "import sys, pathlib; from hubserve.registry.remotes.held_copies import hold; "
    hold += "hold(pathlib.Path(sys.argv[1])); print(); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", hold, str(copies / "served")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        assert clear(tmp_path / "home")["cache"] == 5
        assert (copies / "served" / "model.onnx").is_file()
        assert not (copies / "left").exists()
        process.communicate("\n")
    assert clear(tmp_path / "home")["cache"] == 5
    assert not copies.exists()
