"""Search for Pythons, and the choice among them."""

import os
import sys
from pathlib import Path

import pytest

from hubserve.errors import InstallError
from hubserve.registry.environments import interpreters
from hubserve.registry.environments.interpreters import find_pythons, host, probe
from hubserve.registry.environments.python_choice import PythonRequest, choose_python


@pytest.fixture
def lonely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that is the only one in PATH, on a machine without other Pythons."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(interpreters, "_PATTERNS", ())
    return folder


def script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def pretend(path: Path, version: str, log: Path) -> None:
    """Write an executable that answers like a Python of a version and counts its runs."""
    numbers = version.replace(".", ", ")
    script(path, f"""echo asked >> {log}; echo '[[{numbers}], "{path}", "final", "linux-x86_64", "cpython"]'""")


def test_this_python_is_first_and_a_virtual_environment_counts_as_its_base_python(tmp_path: Path) -> None:
    assert find_pythons(tmp_path / "pythons.json")[0] == host()
    assert host().numbers == sys.version_info[:3]
    assert probe(sys.executable) == host()
    assert probe("/bin/true") is None
    assert probe(str(tmp_path / "missing")) is None


def test_each_python_is_run_once_and_cached_until_it_changes(lonely: Path, tmp_path: Path) -> None:
    cache, log = tmp_path / "pythons.json", tmp_path / "log"
    pretend(lonely / "python3.9", "3.9.1", log)
    script(lonely / "python3.8", "exit 1")
    first = find_pythons(cache)
    assert [each.version for each in first] == [host().version, "3.9.1"]
    assert find_pythons(cache) == first
    assert log.read_text().count("asked") == 1
    pretend(lonely / "python3.9", "3.9.15", log)
    assert [each.version for each in find_pythons(cache)][1] == "3.9.15"
    cache.write_text("damaged")
    assert [each.version for each in find_pythons(cache)][1] == "3.9.15"


def test_pyenvs_shims_are_not_run(lonely: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shims = tmp_path / "shims"
    shims.mkdir()
    script(shims / "python3.9", f"echo asked >> {tmp_path / 'log'}")
    monkeypatch.setenv("PATH", f"{lonely}{os.pathsep}{shims}")
    assert find_pythons(tmp_path / "pythons.json") == [host()]
    assert not (tmp_path / "log").exists()


def test_this_python_is_chosen_if_it_fits_else_the_newest_that_does(lonely: Path, tmp_path: Path) -> None:
    for version in ("3.6.15", "3.8.1", "3.9.1", "3.99.0"):
        pretend(lonely / f"python{version}", version, tmp_path / "log")
        (lonely / f"python{version}").rename(lonely / ("python3." + {"3.6.15": "13", "3.8.1": "8", "3.9.1": "9", "3.99.0": "12"}[version]))
    cache = tmp_path / "pythons.json"
    assert choose_python(PythonRequest(), cache) == host()
    assert choose_python(PythonRequest(">=3.6,<3.10"), cache).version == "3.9.1"
    assert choose_python(PythonRequest(user="3.8"), cache).version == "3.8.1"
    assert choose_python(PythonRequest(">=3.8", "<3.9.1"), cache).version == "3.8.1"
    assert choose_python(PythonRequest(user=sys.executable), cache) == host()
    for wish in (
        PythonRequest("<3.7"),
        PythonRequest(">=3.99"),
        PythonRequest("<3.8.1"),
        PythonRequest(">=3.9", "3.8"),
        PythonRequest(user=str(lonely / "missing")),
    ):
        with pytest.raises(InstallError, match="never downloads"):
            choose_python(wish, cache)


def test_the_error_without_a_fitting_python_lists_those_found(lonely: Path, tmp_path: Path) -> None:
    pretend(lonely / "python3.9", "3.9.1", tmp_path / "log")
    with pytest.raises(InstallError) as failed:
        choose_python(PythonRequest("<3.9"), tmp_path / "pythons.json")
    for word in ("requires Python <3.9", host().version, f"3.9.1 ({lonely / 'python3.9'})", "3.8 to 3.13", "pyenv install"):
        assert word in failed.value.message
