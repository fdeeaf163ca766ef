"""Instances elsewhere: on another machine, or in another Python."""

import asyncio
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from hubserve.errors import LoadFailed
from hubserve.instance.wire import Frame, pack_arrays, unpack_arrays
from hubserve.module import encode_array
from hubserve.serving.dataplane import DataPlane
from hubserve.serving.process import InstanceProcess
from hubserve.serving.spec import InstanceSpec
from tests.conftest import MODULES, ROOT, Server, Start, free_port, toy, wait_for

TOKEN = "a token of thirty-two characters"


def other_pythons() -> dict[str, str]:
    """The oldest and the newest interpreter that instances must run on, where this machine has them."""
    found = {}
    for version in ("3.8", "3.13"):
        candidates = [shutil.which(f"python{version}"), *map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))]
        for candidate in filter(None, candidates):
            done = subprocess.run([candidate, "--version"], capture_output=True, text=True, check=False)
            if done.stdout.startswith(f"Python {version}."):
                found[version] = candidate
    return found or {"this": sys.executable}


PYTHONS = other_pythons()


@pytest.fixture(scope="module", params=PYTHONS)
def python(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter with numpy and nothing else."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([PYTHONS[request.param], "-m", "venv", str(folder)], check=True)
    subprocess.run([str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "numpy"], check=True, capture_output=True)
    return str(folder / "bin" / "python")


def test_an_instance_runs_in_another_python_and_shares_memory_with_this_one(python: str) -> None:
    array = np.random.default_rng(0).standard_normal((4, 1 << 18), np.float32)

    async def scenario() -> tuple[np.ndarray, list[dict[str, object]], int]:
        spec = InstanceSpec("doubler", "paddlehub", MODULES / "doubler", "doubler", python=python)
        instance = InstanceProcess(spec, DataPlane([]).calls)
        await instance.start()
        try:
            buffers: list[object] = []
            call = {"face": "tensors", "inputs": pack_arrays({"x": array}, buffers), "answer": "tensors"}
            for _ in range(3):
                answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
                instance.infer({"op": "infer", "calls": [call]}, buffers, answer.set_result)  # type: ignore[arg-type]
                frame = await answer
                outputs = unpack_arrays(frame.header["results"][0]["outputs"], frame.buffers)
            return outputs["y"], frame.header["buffers"], instance.pid
        finally:
            await instance.stop()

    doubled, places, pid = asyncio.run(scenario())
    assert np.array_equal(doubled, 2 * array)
    assert isinstance(places[0], list), "the answer came through the shared memory"
    assert not psutil.pid_exists(pid)


@contextmanager
def listener(folder: Path, port: int = 0) -> Iterator[tuple[str, Path, subprocess.Popen[str]]]:
    """A listener, as on another machine: its address, its token file and its process."""
    token_file = folder / "token"
    token_file.write_text(TOKEN + "\n")
    command = [sys.executable, "-m", "hubserve.instance", "--listen", f"127.0.0.1:{port}", "--token-file", str(token_file)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert line.startswith("listening on "), line
            yield line.split()[-1], token_file, process
        finally:
            process.kill()


def double(server: Server, numbers: list[float]) -> object:
    data, about = encode_array(np.asarray(numbers, np.float32).reshape(1, -1))
    return server.results("doubler", data=data, about=about)["y"]


def test_a_module_is_served_by_instances_on_other_machines(start: Start, tmp_path: Path) -> None:
    with listener(tmp_path) as (address, token_file, process):
        server = start({"doubler": {**toy("doubler"), "addresses": [address, address], "token_file": str(token_file)}})
        large = np.arange(100_000, dtype=np.float32).tolist()
        assert double(server, large) == [(2 * np.asarray(large)).tolist()]
        instances = psutil.Process(process.pid).children()
        assert len(instances) == 2
        assert psutil.Process(server.process.pid).children() == []
        for instance in instances:  # connections that break are made again
            instance.kill()
        wait_for(lambda: server.status("doubler")["restarts"] == 2 and server.status("doubler")["ready"])
        assert double(server, [1.0]) == [[2.0]]
        server.stop()
        wait_for(lambda: not psutil.Process(process.pid).children())


def test_whoever_does_not_know_the_token_gets_no_instance(tmp_path: Path) -> None:
    with listener(tmp_path) as (address, _, process):
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port))) as stranger:
            stranger.settimeout(10)
            assert stranger.recv(4) == b"HUB1"
            stranger.sendall(b"x" * 32)
            while stranger.recv(64):
                pass
        assert psutil.Process(process.pid).children() == []
        wrong = tmp_path / "wrong"
        wrong.write_text("another token of this length")

        async def scenario() -> None:
            from hubserve.serving.remote import RemoteInstance

            spec = InstanceSpec("doubler", "paddlehub", MODULES / "doubler", "doubler", address=address, token_file=str(wrong))
            await RemoteInstance(spec, DataPlane([]).calls).start()

        with pytest.raises(LoadFailed, match="'doubler' cannot be loaded"):
            asyncio.run(scenario())


def test_an_address_where_nothing_listens_is_told_with_what_to_start_there(start: Start, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN)
    address = f"127.0.0.1:{free_port()}"
    server = start({"doubler": {**toy("doubler"), "addresses": [address], "token_file": str(token_file)}}, wait=False)
    assert server.process.wait(30) == 1
    assert f"no instance is to be had at {address}" in server.log.read_text()
    assert f"python -m hubserve.instance --listen {address}" in server.log.read_text()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--listen", "127.0.0.1:0"], "--listen needs --token-file"),
        (["--listen", "nowhere", "--token-file", "TOKEN"], "'nowhere' is no address"),
        (["--listen", "127.0.0.1:0", "--token-file", "SHORT"], "shorter than 16 bytes"),
        (["--listen", "127.0.0.1:0", "--token-file", "/nowhere/token"], "cannot read the token file"),
    ],
)
def test_a_listener_that_cannot_be_started_says_why(tmp_path: Path, options: list[str], says: str) -> None:
    (tmp_path / "TOKEN").write_text(TOKEN)
    (tmp_path / "SHORT").write_text("short")
    command = [sys.executable, "-m", "hubserve.instance", *options]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert says in done.stderr
