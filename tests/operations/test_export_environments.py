"""Exports of a module that runs in another Python: in an image with mounted models, and as a systemd unit."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from hubserve.registry.environments.interpreters import find_pythons
from tests.conftest import MODULES, hub
from tests.operations.containers import Build, Stage, debian_root, python_folder
from tests.operations.programs import MISSING
from tests.ports import free_port

READY_TIMEOUT_S = 300


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return debian_root(tmp_path_factory.mktemp("root") / "debian")


@pytest.fixture(scope="module")
def other_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The minor version of another Python that hubserve's modules can run in."""
    found = find_pythons(tmp_path_factory.mktemp("pythons") / "found.json")
    here = ".".join(map(str, sys.version_info[:2]))
    others = [each for each in found if each.supported and each.minor != here and "/versions/" in each.path]
    if not others:
        pytest.skip(f"{MISSING} is another Python in a folder of its own, such as pyenv's")
    return others[0].minor


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, other_python: str) -> tuple[Path, int]:
    """A folder with a configuration and a home in which its module has an environment of that Python; and the port."""
    folder, port = tmp_path_factory.mktemp("source"), free_port()
    done = hub("install", MODULES / "doubler", "--isolated", "--python", other_python, home=folder / "home", timeout=600)
    assert done.returncode == 0, done.stderr
    (folder / "config.json").write_text(json.dumps({"modules_info": {"doubler": {}}, "port": port}))
    return folder, port


def export(source: tuple[Path, int], target: str, folder: Path, *more: str) -> Path:
    command = ["export", target, "-c", source[0] / "config.json", "-o", folder / target, "--extras", "", *more]
    done = hub(*command, home=source[0] / "home", timeout=600)
    assert done.returncode == 0, done.stderr
    return folder / target


@contextmanager
def running(stage: Stage, command: list[str], port: int, log: Path, **options: str) -> Iterator[str]:
    """Start a server in a root; yield its address once it is ready, and stop it afterwards."""
    with log.open("wb") as output:
        process = subprocess.Popen(stage.call(command, **options), stdout=output, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while True:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            try:
                if requests.get(f"http://127.0.0.1:{port}/health/ready", timeout=5).status_code == 200:
                    break
            except requests.ConnectionError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def python_of_instance(home: Path) -> str:
    """Return the name of the environment of the module in a home, which begins with its Python."""
    (environment,) = [each.name for each in (home / "environments").iterdir() if not each.name.startswith(".")]
    return environment.rpartition("-")[0]


def test_modules_are_installed_from_a_mounted_folder_with_their_python(
    source: tuple[Path, int], debian: Path, other_python: str, tmp_path: Path
) -> None:
    folder = export(source, "docker", tmp_path, "--models", "mounted")
    assert not list((folder / "wheels").glob("doubler*"))
    stage = Build(folder, debian, tmp_path).last
    places = stage.root / "srv" / "hubserve"
    assert not (places / "modules").exists()
    for name in ("modules", "models"):  # what the options -v of the printed command mount
        subprocess.run(["cp", "-a", str(folder / name), str(places / name)], check=True)
    command = [
        "export",
        "docker",
        "-c",
        source[0] / "config.json",
        "-o",
        tmp_path / "again",
        "--extras",
        "",
        "--models",
        "mounted",
        "--json",
    ]
    steps = json.loads(hub(*command, home=source[0] / "home", timeout=600).stdout)["next"]
    install = next(each["command"] for each in steps if "--entrypoint bash" in each["command"])
    stage.run(["bash", "-c", install.rpartition(" -c ")[2].strip("'")])
    with running(stage, [*stage.entrypoint, *stage.command], source[1], tmp_path / "log") as url:
        assert requests.get(url + "/v2/models/doubler/ready", timeout=10).status_code == 200
    assert python_of_instance(places / "home") == other_python


def test_the_script_of_the_unit_installs_what_the_unit_starts(
    source: tuple[Path, int], debian: Path, other_python: str, tmp_path: Path
) -> None:
    folder = export(source, "systemd", tmp_path)
    root = tmp_path / "root"
    subprocess.run(["cp", "-a", "--reflink=auto", str(debian), str(root)], check=True)
    stage = Stage(root)
    stage.run(["sh", "-c", "apt-get update -qq && apt-get install -y -qq --no-install-recommends systemd"])
    subprocess.run(["cp", "-a", str(python_folder(other_python)), str(root / "opt" / f"python{other_python}")], check=True)
    stage.run(["sh", "-c", f"echo /opt/python{other_python}/lib > /etc/ld.so.conf.d/other.conf && ldconfig"])  # as an installed one
    subprocess.run(["cp", "-a", str(folder), str(root / "root" / "export")], check=True)
    network = {name: value for name, value in os.environ.items() if name.startswith("PIP_") and name != "PIP_FIND_LINKS"}
    stage.run(["/root/export/install.sh"], **network)
    stage.run(["/root/export/install.sh"], **network)  # an upgrade is the same
    stage.run(["systemd-analyze", "verify", "--man=no", "/etc/systemd/system/hubserve.service"])
    unit = dict(line.split("=", 1) for line in (root / "etc/systemd/system/hubserve.service").read_text().splitlines() if "=" in line)
    environ = dict(each.split("=", 1) for each in unit["Environment"].split())
    user = next(line.split(":") for line in (root / "etc/passwd").read_text().splitlines() if line.startswith("hubserve:"))
    stage.user, stage.folder = f"{user[2]}:{user[3]}", unit["WorkingDirectory"]
    with running(stage, unit["ExecStart"].split(), source[1], tmp_path / "log", **environ) as url:
        assert requests.get(url + "/v2/models/doubler/ready", timeout=10).status_code == 200
        stage.run(unit["ExecReload"].split(), **environ)
        assert requests.get(url + "/v2/models/doubler/ready", timeout=10).status_code == 200
    assert python_of_instance(root / "var/lib/hubserve/home") == other_python
