"""Real servers, homes and models for every test."""

import contextlib
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from filelock import FileLock

from hubserve import cli
from tests.examples import load_profile
from tests.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
MODULES = ROOT / "tests" / "modules"
START_TIMEOUT_S = 240  # several engines may be measured first, while other workers compute
MOST_WORKERS = 12

load_profile()

# A script that runs tests in its background has them ignore Ctrl-C, and nohup SIGHUP; so would every process that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(optionalhook=True)  # without pytest-xdist nothing asks
def pytest_xdist_auto_num_workers() -> int:
    """Return the number of workers for ``-n auto``: tests wait for servers half of their time."""
    return min(MOST_WORKERS, (len(os.sched_getaffinity(0)) * 3 + 1) // 2)


@pytest.fixture(scope="session", autouse=True)
def default_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home for everything that a test does without one of its own, so that the user's stays as it is."""
    folder = tmp_path_factory.mktemp("default-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUB_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def model_dir() -> Path:
    """The default classifier's folder; exported if it is not there yet."""
    return _exported("export_model.py", ROOT / "inference", "inference.pdmodel")


@pytest.fixture(scope="session")
def ocr_dir() -> Path:
    """The folder of the models of hubmodules/ocr; exported if they are not there yet."""
    return _exported("export_ocr.py", ROOT / "inference" / "ocr", "rec/inference.pdmodel")


def _exported(tool: str, folder: Path, file: str) -> Path:
    """Return the folder that a tool fills; run the tool if the file is not there yet, in one worker only."""
    lock = hashlib.sha256(str(folder).encode()).hexdigest()
    with FileLock(Path(tempfile.gettempdir(), f"hubserve-tests-{os.getuid()}-{lock}.lock")):
        if not (folder / file).is_file():
            subprocess.run([sys.executable, str(ROOT / "tools" / tool)], cwd=ROOT, check=True)
    return folder


@pytest.fixture(scope="session")
def page_photo() -> Path:
    """scikit-image's photo of a printed page, as a PNG file."""
    from skimage import data

    return Path(data.__file__).parent / "page.png"


@pytest.fixture(scope="session")
def cat_photo() -> Path:
    """scikit-image's cat, as a PNG file."""
    from skimage import data

    return Path(data.__file__).parent / "chelsea.png"


@pytest.fixture(scope="session")
def engine_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Conversions and measured engine choices of all workers: measuring a model takes seconds of every core."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "engine-cache"


def share_engine_cache(home: Path, cache: Path) -> Path:
    """Let a home use the shared conversions and engine choices, which are keyed by the model's bytes; return the home."""
    for name in ("engines", "onnx"):
        (cache / name).mkdir(parents=True, exist_ok=True)
        (home / "cache").mkdir(parents=True, exist_ok=True)
        (home / "cache" / name).symlink_to(cache / name, target_is_directory=True)
    return home


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory: pytest.TempPathFactory, engine_cache: Path) -> Path:
    """A home for servers that many tests use."""
    return share_engine_cache(tmp_path_factory.mktemp("home"), engine_cache)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home of the test's own, also for code that runs in this process."""
    folder = tmp_path / "home"
    monkeypatch.setenv("HUB_HOME", str(folder))
    return folder


@pytest.fixture
def measured_home(home: Path, engine_cache: Path) -> Path:
    """A home of the test's own in which no engine need be measured that another test has measured."""
    return share_engine_cache(home, engine_cache)


def hub(*arguments: object, home: Path, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run the ``hub`` command."""
    command = [sys.executable, "-m", "hubserve", *map(str, arguments)]
    environ = {**os.environ, "HUB_HOME": str(home), **options.pop("environ", {})}
    options = {"cwd": ROOT, "timeout": 180, **options}
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False, **options)


def hub_here(*arguments: object, home: Path) -> "subprocess.CompletedProcess[str]":
    """Run the ``hub`` command in this process: enough where its arguments are refused before anything starts."""
    words, out, err = list(map(str, arguments)), io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setenv("HUB_HOME", str(home))
        try:
            status = cli.main(words)
        except SystemExit as end:
            status = int(end.code or 0)
    return subprocess.CompletedProcess(words, status, out.getvalue(), err.getvalue())


class Server:
    """A running ``hub serving start``.

    Attributes:
        headers: sent with each request of the methods below.
        logs_its_start: False if the lines of its start go elsewhere than to ``log``, or nowhere.
    """

    def __init__(self, arguments: list[str], port: int, home: Path, log: Path, cwd: Path = ROOT, **environ: str) -> None:
        self.port, self.home, self.log = port, home, log
        self.url = f"http://127.0.0.1:{port}"
        self.headers: dict[str, str] = {}
        self.logs_its_start = True
        command = [sys.executable, "-m", "hubserve", "serving", "start", *arguments]
        with log.open("w") as output:
            self.process = subprocess.Popen(
                command, cwd=cwd, env={**os.environ, "HUB_HOME": str(home), **environ}, stdout=output, stderr=subprocess.STDOUT
            )

    def wait_until_ready(self) -> "Server":
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"the server ended:\n{self.log.read_text()}"
            with contextlib.suppress(requests.ConnectionError):
                is_ready = requests.get(self.url + "/health/ready", timeout=10).status_code == 200
                # the last line of the start can come a moment after the first request is answered
                if is_ready and (not self.logs_its_start or "loaded in" in self.log.read_text()):
                    return self
            time.sleep(0.02)
        raise AssertionError(f"not ready in time:\n{self.log.read_text()}")

    def predict(self, module: str, **options: Any) -> requests.Response:
        headers = {**self.headers, **(options.pop("headers", None) or {})}
        return requests.post(f"{self.url}/predict/{module}", timeout=60, headers=headers, **options)

    def results(self, module: str, **arguments: Any) -> Any:
        """A JSON call's results; fails the test if the call failed."""
        answer = self.predict(module, json=arguments).json()
        assert answer["status"] == "000", answer
        return answer["results"]

    def status(self, module: str) -> dict[str, Any]:
        modules = requests.get(self.url + "/status", timeout=10, headers=self.headers).json()["modules"]
        return next(each for each in modules if each["name"] == module)

    def waiting(self, module: str) -> int:
        """Number of a module's requests that are neither answered nor given to an instance."""
        return int(self.status(module)["queue"])

    def computing(self, module: str) -> int:
        """Number of batches that a module's instances have not answered."""
        return int(sum(each["in_flight"] for each in self.status(module)["instances"]))

    def instance_pids(self, module: str) -> list[int]:
        return [each["pid"] for each in self.status(module)["instances"] if each["pid"]]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


Start = Callable[..., Server]


@contextlib.contextmanager
def servers(home: Path, folder: Path) -> Iterator[Start]:
    """A function that starts servers, all of which are ended afterwards."""
    started: list[Server] = []

    def start(modules: dict[str, Any], wait: bool = True, environ: dict[str, str] | None = None, **settings: Any) -> Server:
        port = settings.pop("port", None) or free_port()
        config = folder / f"config-{port}.json"
        # raw requests in tests use x or here as the Host
        config.write_text(json.dumps({"modules_info": modules, "port": port, "allowed_hosts": ["x", "here"], **settings}))
        server = Server(["-c", str(config)], port, home, folder / f"server-{port}.log", **(environ or {}))
        server.logs_its_start = "log_file" not in settings and settings.get("log_level", "info") in ("info", "debug")
        started.append(server)
        return server.wait_until_ready() if wait else server

    try:
        yield start
    finally:
        for server in started:
            server.process.kill()
            server.process.wait(60)


@pytest.fixture
def start(home: Path, tmp_path: Path) -> Iterator[Start]:
    """Start servers of the test's own: ``start({name: settings}, **server_settings)``."""
    with servers(home, tmp_path) as function:
        yield function


@pytest.fixture(scope="session")
def toys(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of three toys with the usual settings, for tests that leave it as it is and write no traceback into its log."""
    with servers(shared_home, tmp_path_factory.mktemp("toys")) as start:
        yield start({name: toy(name) for name in ("shout", "doubler", "faulty")})


def toy(name: str, **init_args: Any) -> dict[str, Any]:
    """The ``modules_info`` entry that serves a toy module from its folder."""
    return {"init_args": {"directory": str(MODULES / name), **init_args}}


def wait_for(condition: Callable[[], Any], timeout_s: float = 120) -> Any:
    """Wait until a condition holds, and return what it gave; the time is for machines that have much else to do."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if result := condition():
            return result
        time.sleep(0.02)
    raise AssertionError(f"did not come true within {timeout_s} s")
