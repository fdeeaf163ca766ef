"""The wheel of this repository, installed into an empty environment, serves; and an export from there has a wheel that does, too."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from hubserve.export.packages import write_wheel
from tests.conftest import MODULES
from tests.operations.ready import wait_until_ready
from tests.ports import free_port


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wheel(tmp_path_factory.mktemp("wheel"))


def environment(folder: Path, *packages: object) -> Path:
    """Make a virtual environment with packages; return its folder of programs."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([folder / "bin" / "pip", "install", "--quiet", *map(str, packages)], check=True)
    return folder / "bin"


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("empty"), wheel)


def clean(home: Path) -> dict[str, str]:
    """Environment variables without those that lead to other Pythons."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return {**kept, "HOME": str(home), "HUB_HOME": str(home / "hub"), "PATH": "/usr/bin:/bin"}


@pytest.fixture
def server(programs: Path, tmp_path: Path) -> Iterator[str]:
    """The address of a server started from the empty environment, away from the sources."""
    port = free_port()
    command = [programs / "hub", "serving", "start", "-m", str(MODULES / "doubler"), "-p", str(port)]
    log = tmp_path / "server.log"
    with log.open("wb") as output, subprocess.Popen(command, cwd=tmp_path, env=clean(tmp_path), stdout=output, stderr=output) as process:
        try:
            yield wait_until_ready(process, port, log)
        finally:
            process.terminate()
            assert process.wait(60) == 0


def test_the_wheel_serves_in_an_empty_environment(server: str, programs: Path) -> None:
    subprocess.run([programs / "pip", "check"], check=True)
    answer = requests.get(server + "/v2/models/doubler", timeout=10).json()
    assert answer["name"] == "doubler"
    sent = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [1.0, 2.0, 3.0]}
    outputs = requests.post(server + "/v2/models/doubler/infer", json={"inputs": [sent]}, timeout=10).json()["outputs"]
    assert outputs[0]["data"] == [2.0, 4.0, 6.0]
    assert requests.post(server + "/predict/doubler", json={"numbers": [4]}, timeout=10).json()["results"] == [8]


def test_the_wheel_has_the_pages_and_the_licences_of_what_they_include(wheel: Path, server: str) -> None:
    with zipfile.ZipFile(wheel) as built:
        names = built.namelist()
    for name in ("LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt"):
        assert any(each.endswith(f".dist-info/licenses/hubserve/pages/swagger_ui/{name}") for each in names), names
    for path in ("/", "/docs", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css", "/docs/initializer.js", "/docs/front.css"):
        assert requests.get(server + path, timeout=10).status_code == 200, path


def test_an_export_from_an_installed_wheel_has_the_same_files(wheel: Path, programs: Path, tmp_path: Path) -> None:
    config = {"modules_info": {"doubler": {"init_args": {"directory": str(MODULES / "doubler")}}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    command = [programs / "hub", "export", "docker", "-c", "config.json", "-o", "image"]
    done = subprocess.run(command, cwd=tmp_path, env=clean(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (packed,) = (tmp_path / "image" / "wheels").glob("*.whl")
    with zipfile.ZipFile(wheel) as built, zipfile.ZipFile(packed) as again:
        names = {each for each in built.namelist() if not each.endswith("RECORD")}
        assert {each for each in again.namelist() if not each.endswith("RECORD")} >= names
        assert [each for each in names if built.read(each) != again.read(each)] == []
    hub = environment(tmp_path / "from-export", "--no-deps", packed) / "python"
    done = subprocess.run([hub, "-c", "import hubserve; print(hubserve.__version__)"], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.strip() in packed.name
