"""Start the servers of all variants, each with a do-nothing module and the classifier; one at a time is put under load."""

import json
import os
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.observed.variants import VARIANTS, Place, Variant
from bench.peers import processes
from bench.peers.running import free_port
from bench.peers.servers.base import MODEL, MODULES, ROOT

_START_TIMEOUT_S = 300.0
_POLL_S = 0.1
_KEY_NAME = "bench"
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Running:
    """A running server.

    Attributes:
        name: of its variant.
        place: its files.
        port, grpc_port: of HTTP and gRPC.
        pid: of the gateway.
        key: that its clients send; "" for none.
        authority: file of the certificate by which its clients know it; "" without TLS.
    """

    name: str
    place: Place
    port: int
    grpc_port: int
    pid: int
    key: str
    authority: str

    @property
    def variant(self) -> Variant:
        """Its variant."""
        return VARIANTS[self.name]

    def tls(self) -> ssl.SSLContext | None:
        """Return what its clients connect with; None without TLS."""
        return ssl.create_default_context(cafile=self.authority) if self.authority else None

    def ask(self, path: str, key: str = "") -> tuple[int, bytes]:
        """Send one GET request; return the status and the body."""
        request = urllib.request.Request(f"{'https' if self.authority else 'http'}://127.0.0.1:{self.port}{path}")
        if key:
            request.add_header("Authorization", f"Bearer {key}")
        try:
            with urllib.request.urlopen(request, timeout=10, context=self.tls()) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def processor_s(self) -> float:
        """Return the processor time that the gateway and its instances have used."""
        return sum(map(_processor_s, processes.tree(self.pid)))


def _processor_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has ended
        return 0.0
    return (int(fields[11]) + int(fields[12])) * _TICK_S


@contextmanager
def serving(names: Sequence[str], engine: str, cores: set[int], collector: str, folder: Path) -> Iterator[list[Running]]:
    """Start a server of each variant, and end them all.

    Args:
        names: of the variants.
        engine: of the classifier; "" to serve none.
        cores: that the servers share; they are loaded one at a time.
        collector: address of the OTLP endpoint.
        folder: an empty one.
    Raises:
        RuntimeError: one does not start.
    """
    from tests.behaviours.certificates import Authority

    authority = Authority(folder / "authority")
    certificate, private_key = authority.write(folder, "server")
    keys, key = _create_key(folder)
    started: list[tuple[Running, subprocess.Popen[bytes]]] = []
    before = os.sched_getaffinity(0)
    try:
        for name in names:
            variant, own = VARIANTS[name], folder / name
            own.mkdir()
            place = Place(own, collector, keys, certificate, private_key)
            port, grpc_port = free_port(), free_port()
            config = own / "config.json"
            settings = {"port": port, "grpc_port": grpc_port, "metrics": False, **variant.settings(place)}
            config.write_text(json.dumps({"modules_info": _modules(engine), **settings}))
            command = [sys.executable, "-m", "hubserve", "serving", "start", "-c", str(config)]
            os.sched_setaffinity(0, cores)
            process = processes.start(command, {"PYTHONPATH": str(ROOT), "HUB_HOME": str(folder / "home")}, own, own / "server.log")
            os.sched_setaffinity(0, before)
            root = str(authority.file) if variant.has_tls else ""
            running = Running(name, place, port, grpc_port, process.pid, key if variant.has_keys else "", root)
            started.append((running, process))
            _wait(running, process)
        yield [running for running, _ in started]
    finally:
        os.sched_setaffinity(0, before)
        for _, process in started:
            processes.stop(process)


def _modules(engine: str) -> dict[str, Any]:
    modules: dict[str, Any] = {
        "do_nothing": {"init_args": {"directory": str(MODULES / "do_nothing")}, "workers": 1},
        "echo": {"init_args": {"directory": str(ROOT / "bench" / "modules" / "echo")}, "workers": 1},
    }
    if engine:
        init_args = {
            "directory": str(ROOT / "hubmodules" / "clas"),
            "engine": engine,
            "inference_model_dir": str(MODEL),
            "cpu_num_threads": 1,
        }
        modules["clas_system"] = {"init_args": init_args, "workers": 1}
    return modules


def _create_key(folder: Path) -> tuple[str, str]:
    """Create a key that may use every module; return the file and the key."""
    file = folder / "keys.json"
    command = [sys.executable, "-m", "hubserve", "access", "create", str(file), "--name", _KEY_NAME, "--modules", "*", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return str(file), str(json.loads(done.stdout)["key"])


def _wait(running: Running, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    log = running.place.folder / "server.log"
    while not _is_ready(running):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the server '{running.name}' does not start: {log.read_text(errors='replace').strip()[-800:]}")
        time.sleep(_POLL_S)


def _is_ready(running: Running) -> bool:
    try:
        return running.ask("/health/ready")[0] == 200
    except OSError:
        return False
