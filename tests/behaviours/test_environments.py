"""Modules that cannot live in one Python are served at once, on one port, each in its own."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy
import pytest

from hubserve.registry.environments.interpreters import Python, find_pythons, host
from tests.conftest import Start, hub, toy, wait_for
from tests.unit.registry.environments.wheelhouse import repack, write_wheel

SOURCE = """
import os
import sys

import {imports}
import numpy

from hubserve.module import moduleinfo, runnable, serving


@moduleinfo(name="{name}", version="1.0.0"{more})
class Module:
    @serving
    def tell(self):
        imported = sys.modules["{imports}"]
        return {{
            "python": "%d.%d.%d" % sys.version_info[:3],
            "numpy": numpy.__version__,
            "package": getattr(imported, "__version__", ""),
            "path": sys.path,
            "file": imported.__file__,
            "environ": dict(os.environ),
        }}

    @runnable
    def run(self, argv):
        return self.tell()
"""


class Old(NamedTuple):
    """An interpreter that is not this one, and wheels of a numpy for it; this one where there is no other.

    Attributes:
        python: the interpreter.
        wheels: a folder.
        is_other: whether it really is another.
    """

    python: Python
    wheels: Path
    is_other: bool


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Old:
    """The oldest Python of this machine for which numpy can be had, 3.8 where there is one."""
    wheels = tmp_path_factory.mktemp("wheels")
    for version in ("1.0", "2.0"):
        write_wheel(wheels, "conflicted", version)
    repack(wheels, "numpy")
    for python in reversed(find_pythons(tmp_path_factory.mktemp("cache") / "pythons.json")):
        if python.supported and python.numbers[:2] < host().numbers[:2] and download(python, "numpy<1.27", wheels):
            return Old(python, wheels, True)
    return Old(host(), wheels, False)


def download(python: Python, package: str, wheels: Path) -> bool:
    words = ["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--python-version", python.minor, "--dest", str(wheels), package]
    return subprocess.run([sys.executable, "-m", "pip", *words], capture_output=True, check=False, timeout=120).returncode == 0


@pytest.fixture
def packages(old: Old, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The only place that packages come from."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(old.wheels))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "uv-cache"))
    return old.wheels


def write(folder: Path, requirements: str, *, imports: str = "conflicted", more: str = "") -> Path:
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "module.py").write_text(SOURCE.format(name=folder.name, imports=imports, more=more and ", " + more))
    if requirements:
        (folder / "requirements.txt").write_text(requirements)
    return folder


def install(source: Path, home: Path, *words: str) -> dict[str, object]:
    done = hub("install", "--json", *words, source, home=home)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_modules_that_need_conflicting_versions_and_pythons_are_served_at_once_on_one_port(
    home: Path, tmp_path: Path, old: Old, packages: Path, start: Start
) -> None:
    one = install(write(tmp_path / "one", "conflicted==1.0\n", more=f'requires_python="=={old.python.minor}.*"'), home)
    two = install(write(tmp_path / "two", "conflicted==2.0\n"), home)
    plain = install(write(tmp_path / "plain", "# numpy is here\nnumpy\n", imports="json"), home)
    assert plain["environment"] == ""
    assert one["environment"] != two["environment"]
    server = start({"one": {}, "two": {}, "plain": {}})
    told = {name: server.results(name) for name in ("one", "two", "plain")}
    assert (told["one"]["package"], told["one"]["python"]) == ("1.0", old.python.version)
    assert (told["two"]["package"], told["two"]["python"]) == ("2.0", host().version)
    assert (told["plain"]["python"], told["plain"]["numpy"]) == (host().version, numpy.__version__)
    if old.is_other:
        assert told["one"]["numpy"] != numpy.__version__
        assert told["one"]["numpy"].startswith("1.")
    for name in ("one", "two"):
        assert not any(each.startswith(sys.prefix) for each in told[name]["path"]), "nothing of this Python's packages is seen"
    ran = hub("run", "--json", "one", home=home)
    assert json.loads(ran.stdout)["package"] == "1.0"


def test_a_module_sets_variables_and_library_folders_and_the_servers_settings_come_before(
    home: Path, tmp_path: Path, packages: Path, start: Start
) -> None:
    more = 'environment={"environ": {"COLOUR": "red", "SIZE": "1", "DATA": "${module}/data"}, "library_path": ["lib"]}'
    source = write(tmp_path / "setter", "", imports="json", more=more)
    (source / "lib").mkdir()
    (source / "lib" / "libnothing.so").touch()
    install(source, home)
    (tmp_path / "mine").mkdir()
    mine = {"environ": {"COLOUR": "blue"}, "library_path": ["mine"], "gpu": "3"}
    server = start({"setter": mine, "shout": {**toy("shout"), "gpu": ""}}, environ={"LD_LIBRARY_PATH": "/inherited"})
    environ = server.results("setter")["environ"]
    folder = (home / "modules" / "setter" / "1.0.0").resolve()  # it runs from where its files really are
    assert (environ["COLOUR"], environ["SIZE"], environ["DATA"]) == ("blue", "1", f"{folder}/data")
    assert environ["LD_LIBRARY_PATH"] == f"{tmp_path / 'mine'}:{folder / 'lib'}:/inherited"
    assert environ["CUDA_VISIBLE_DEVICES"] == "3"


def test_what_cannot_be_resolved_or_imported_is_not_installed_and_nothing_is_left(home: Path, tmp_path: Path, packages: Path) -> None:
    done = hub("install", write(tmp_path / "never", "conflicted==9.9\n"), home=home)
    assert done.returncode == 1
    message = done.stderr.splitlines()[-1]
    assert "conflicted" in message
    assert "9.9" in message
    assert "Correct its requirements.txt" in message
    broken = write(tmp_path / "broken", "conflicted\n", imports="not_in_requirements")
    done = hub("install", broken, home=home)
    assert done.returncode == 1
    assert "'not_in_requirements'" in done.stderr.splitlines()[-1]
    assert "requirements.txt" in done.stderr.splitlines()[-1]
    assert "install it into this Python" not in done.stderr, "an environment is not changed by hand"
    assert json.loads(hub("list", "--json", home=home).stdout)["modules"] == []
    assert json.loads(hub("env", "list", "--json", home=home).stdout)["environments"] == []
    assert not list((home / "tmp").iterdir())
    lost = hub("install", write(tmp_path / "lost", "", imports="json", more='requires_python="<3"'), home=home)
    assert "no Python on this machine fits" in lost.stderr
    assert host().version in lost.stderr


@pytest.mark.slow
def test_an_environment_can_be_seen_and_pruned_but_not_from_under_a_server(
    home: Path, tmp_path: Path, packages: Path, start: Start
) -> None:
    source = write(tmp_path / "seen", "conflicted==1.0\n")
    key = str(install(source, home)["environment"])
    assert install(source, home)["environment"] == key
    listed = json.loads(hub("env", "list", "--json", home=home).stdout)["environments"]
    assert [(each["key"], each["modules"], each["python"]) for each in listed] == [(key, ["seen 1.0.0"], host().version)]
    assert listed[0]["size_bytes"] > 1 << 20
    assert key in hub("env", "list", home=home).stdout
    assert "conflicted==1.0" in hub("env", "show", key[:-2], home=home).stdout
    assert key in hub("show", "seen", home=home).stdout
    assert "its own, once it is installed" in " ".join(hub("show", source, home=home).stdout.split())
    assert json.loads(hub("env", "prune", "--json", home=home).stdout)["removed"] == {}
    server = start({"seen": {}})
    shutil.rmtree(home / "modules" / "seen")  # it is still served
    assert key in hub("env", "prune", home=home).stdout
    assert server.results("seen")["package"] == "1.0"
    server.stop()
    pruned = wait_for(lambda: json.loads(hub("env", "prune", "--json", home=home).stdout)["removed"])
    assert list(pruned) == [key]
    assert pruned[key] > 1 << 20
    assert hub("env", "show", key, home=home).returncode == 1
    assert hub("env", "show", home=home).returncode == 1


@pytest.mark.slow
def test_a_pruned_environment_is_told_with_the_remedy(home: Path, tmp_path: Path, packages: Path) -> None:
    source = write(tmp_path / "lost", "conflicted==1.0\n")
    key = str(install(source, home)["environment"])
    shutil.rmtree(home / "environments" / key)
    done = hub("run", "lost", home=home)
    assert done.returncode == 1
    assert "Install the module again" in done.stderr
    assert "install the module again" in " ".join(hub("show", "lost", home=home).stdout.split())
    assert install(source, home)["environment"] == key
    assert hub("run", "lost", home=home).returncode == 0


@pytest.fixture
def interrupted(home: Path, tmp_path: Path, packages: Path) -> Iterator["subprocess.Popen[str]"]:
    """A ``hub install`` that is at its environment."""
    command = [sys.executable, "-m", "hubserve", "install", str(write(tmp_path / "slow", "conflicted\n"))]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr
        for line in process.stderr:
            if line.startswith("installing"):
                break
        yield process
        process.kill()


def test_ctrl_c_while_an_environment_is_built_leaves_nothing(home: Path, interrupted: "subprocess.Popen[str]") -> None:
    interrupted.send_signal(2)
    assert interrupted.wait(60) == 130
    wait_for(lambda: not list((home / "tmp").iterdir()))
    assert not [each for each in (home / "environments").iterdir() if not each.name.startswith(".")]
    assert not (home / "modules" / "slow").exists()


@pytest.mark.slow
def test_two_installs_at_once_that_need_the_same_share_one_environment(home: Path, tmp_path: Path, packages: Path) -> None:
    sources = [write(tmp_path / name, "conflicted==2.0\n") for name in ("left", "right")]
    commands = [[sys.executable, "-m", "hubserve", "install", str(each)] for each in sources]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for command in commands]
    told = [each.communicate(timeout=120) for each in both]
    assert [each.returncode for each in both] == [0, 0], told
    assert sum("making an environment" in stderr for _, stderr in told) == 1
    (one,) = json.loads(hub("env", "list", "--json", home=home).stdout)["environments"]
    assert one["modules"] == ["left 1.0.0", "right 1.0.0"]
