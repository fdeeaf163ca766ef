"""A release as its users get it: sdist and wheel are built, the wheel is installed into an empty environment, and serves."""

import os
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
import requests

import hubserve
from hubserve.registry.environments.tools.package_index import index_settings
from tests.conftest import MODULES, ROOT, free_port, wait_for

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent


def run(*command: object, **options: object) -> str:
    """Run a command that must succeed, and return what it printed."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=600, check=False, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return str(done.stdout)


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that ``python -m build`` leaves: the sdist, and the wheel that is made of the sdist alone."""
    sources = tmp_path_factory.mktemp("sources")
    shutil.copytree(ROOT / "hubserve", sources / "hubserve", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    run(BIN / "python", "-m", "build", sources, env={**os.environ, **index_settings().pip_environ()})
    return sources / "dist"


def data_files() -> set[str]:
    """Every file of the package that is not Python code, as the wheel should name it."""
    files = (path for path in (ROOT / "hubserve").rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {str(path.relative_to(ROOT)) for path in files if path.suffix != ".py"}


def test_the_wheel_has_every_file_of_the_package_and_the_licence(dist: Path) -> None:
    version = hubserve.__version__
    wheel = dist / f"hubserve-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"hubserve-{version}.dist-info/METADATA").decode()
    code = {str(path.relative_to(ROOT)) for path in (ROOT / "hubserve").rglob("*.py")}
    packed = {name for name in names if name.startswith("hubserve/")}
    assert packed == code | data_files()
    assert {"hubserve/py.typed", "hubserve/compat/README.md"} < packed
    assert f"hubserve-{version}.dist-info/licenses/LICENSE" in names
    assert {name.partition("/")[0] for name in names} == {"hubserve", f"hubserve-{version}.dist-info"}
    for line in ("License-Expression: Apache-2.0", f"Version: {version}", "Classifier: Operating System :: POSIX :: Linux"):
        assert f"\n{line}\n" in metadata
    with tarfile.open(dist / f"hubserve-{version}.tar.gz") as sdist:
        packed_sources = {name.partition("/")[2] for name in sdist.getnames()}
    assert code | data_files() | {"LICENSE", "README.md", "pyproject.toml", "setup.py"} <= packed_sources


def test_the_wheel_serves_from_an_empty_environment_in_an_empty_home(dist: Path, tmp_path: Path) -> None:
    wheel = next(dist.glob("*.whl"))
    uv, index = BIN / "uv", index_settings()
    # only the downloads are shared with this machine
    cache = run(uv, "cache", "dir").strip()
    environ = {
        "HOME": str(tmp_path / "home"),
        "PATH": f"{tmp_path / 'venv' / 'bin'}:/usr/bin:/bin",
        "UV_CACHE_DIR": cache,
        "LANG": "C.UTF-8",
    }
    (tmp_path / "home").mkdir()
    installing = {**os.environ, **index.uv_environ(), **environ}  # certificates and proxies are this machine's
    python = tmp_path / "venv" / "bin" / "python"
    run(uv, "venv", "--python", sys.executable, tmp_path / "venv", env=installing)
    run(uv, "pip", "install", "--python", python, *index.uv_options(), wheel, env=installing)
    run(uv, "pip", "check", "--python", python, env=installing)

    hub = python.with_name("hub")
    options = {"env": environ, "cwd": tmp_path}
    module = shutil.copytree(MODULES / "shout", tmp_path / "shout")
    assert f"hubserve {hubserve.__version__}" in run(hub, "version", **options)
    assert "Installed shout 1.0.0" in run(hub, "install", module, **options)
    assert run(hub, "run", "shout", "hello", **options) == "HELLO!\n"
    assert "0 errors" in run(hub, "doctor", **options)

    port, log = free_port(), tmp_path / "server.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            [str(hub), "serving", "start", "-m", "shout", "-p", str(port)], env=environ, cwd=tmp_path, stdout=output, stderr=output
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: server.poll() is not None or _is_ready(url))
        assert server.poll() is None, log.read_text()
        answer = requests.post(f"{url}/predict/shout", json={"text": "it serves"}, timeout=60)
        assert answer.json() == {"status": "000", "msg": "", "results": "IT SERVES!"}
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0, log.read_text()
    finally:
        server.kill()
        server.wait(60)
    assert sorted(path.name for path in (tmp_path / "home").iterdir()) == [".paddlehub"]


def _is_ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/health/ready", timeout=10).status_code == 200
    except requests.ConnectionError:
        return False
