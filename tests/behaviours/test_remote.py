"""Instances elsewhere: on another machine, or in another Python."""

import asyncio
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import pytest

from hubserve.errors import LoadFailed
from hubserve.gateway.dataplane import DataPlane
from hubserve.gateway.instances.instance_spec import InstanceSpec
from hubserve.gateway.instances.process import InstanceProcess
from hubserve.gateway.instances.remote_instance import RemoteInstance, connect
from hubserve.gateway.instances.remote_key import make_key
from hubserve.module import encode_array
from hubserve.wire.certificates import TlsFiles
from hubserve.wire.frames import Frame, pack_arrays, unpack_arrays
from hubserve.wire.tls import ASK_INSTANCE, ASK_PROBE, SharedKey, Untrusted, receive_line, send_line
from tests.behaviours.certificates import Authority
from tests.conftest import MODULES, ROOT, Server, Start, free_port, hub, toy, wait_for


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
        instance = InstanceProcess(spec, DataPlane([]).model_access)
        await instance.start()
        try:
            buffers: list[object] = []
            call = {"interface": "tensors", "inputs": pack_arrays({"x": array}, buffers), "answer": "tensors"}
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


def test_the_output_of_an_instance_in_another_python_has_the_ids_that_it_is_sent(python: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "hubserve")

    async def scenario() -> None:
        spec = InstanceSpec("talkative", "paddlehub", MODULES / "talkative", "talkative", python=python, version="1.2.3")
        instance = InstanceProcess(spec, DataPlane([]).model_access)
        await instance.start()
        calls = [{"interface": "json", "arguments": index, "answer": "json"} for index in range(2)]
        buffers = [b'{"how": "print", "text": "first"}', b'{"how": "log", "text": "second"}']
        requests = [None, {"id": "mine-2", "trace": ""}]
        answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        instance.infer({"op": "infer", "calls": calls, "requests": requests}, buffers, answer.set_result)  # type: ignore[arg-type]
        await answer
        await instance.stop()

    asyncio.run(scenario())
    found = {each.getMessage().splitlines()[0]: each for each in caplog.records}
    assert (found["constructed"].module_name, found["constructed"].version) == ("talkative", "1.2.3")  # type: ignore[attr-defined]
    assert (found["first"].levelname, found["first"].request_id) == ("INFO", "")  # type: ignore[attr-defined]
    assert (found["second"].levelname, found["second"].request_id) == ("ERROR", "mine-2")  # type: ignore[attr-defined]


#: a listener with configurable handshake timeout, number of instances and number of descriptors
LISTEN = """
import resource
from hubserve.instance import __main__, remote_listener
remote_listener.HANDSHAKE_TIMEOUT_S = {}
remote_listener._MAX_INSTANCES = {}
resource.setrlimit(resource.RLIMIT_NOFILE, ({}, {}))
__main__.main()
"""
#: the same, but its instances end at once and leave a process behind that holds their socket
FORKS = LISTEN.replace(
    "__main__.main()",
    """
import sys
from pathlib import Path
from hubserve.wire.tls import SharedKey
remote_listener.listen("127.0.0.1:0", SharedKey(Path(sys.argv[-1])), lambda fd: ["sh", "-c", "sleep 60 & exit 0"])
""",
)


class Listener(NamedTuple):
    """A listener, as on another machine."""

    address: str
    token_file: Path
    process: subprocess.Popen[str]

    @property
    def where(self) -> tuple[str, int]:
        host, _, port = self.address.rpartition(":")
        return host, int(port)

    def connect(self, ask: str = ASK_PROBE) -> socket.socket:
        """Connect as a gateway does."""
        return connect(self.where, SharedKey(self.token_file), ask, 20)

    def says(self, word: str) -> str:
        """Return the next line of its log that contains a word."""
        assert self.process.stderr is not None
        return next(line for line in self.process.stderr if word in line)

    def instances(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()


@contextmanager
def listener(
    folder: Path,
    *,
    python: str = sys.executable,
    handshake_s: float = 8,
    instances: int = 256,
    descriptors: int = 512,
    code: str = LISTEN,
    host: str = "127.0.0.1",
    certificates: Sequence[str] = (),
) -> Iterator[Listener]:
    """Start a listener, with a shared key unless there are options for certificates."""
    token_file = folder / "token"
    if not token_file.exists():
        make_key(token_file)
    code = code.format(handshake_s, instances, descriptors, descriptors)
    identity = certificates or ["--token-file", str(token_file)]
    command = [python, "-c", code, "--listen", f"{host}:0", *identity]
    with subprocess.Popen(command, env={"PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            if line.startswith("every holder of a certificate"):
                line = process.stderr.readline()
            assert line.startswith("listening on "), line
            yield Listener(line.split()[-1], token_file, process)
        finally:
            process.kill()


def double(server: Server, numbers: list[float]) -> object:
    data, about = encode_array(np.asarray(numbers, np.float32).reshape(1, -1))
    return server.results("doubler", data=data, about=about)["y"]


def remote(found: Listener, token_file: Path | None = None, certificates: TlsFiles | None = None) -> RemoteInstance:
    folder, key = MODULES / "doubler", str(token_file or found.token_file)
    spec = InstanceSpec(
        "doubler", "paddlehub", folder, "doubler", address=found.address, token_file="" if certificates else key, certificates=certificates
    )
    return RemoteInstance(spec, DataPlane([]).model_access)


def test_a_module_is_served_by_instances_on_other_machines(start: Start, tmp_path: Path) -> None:
    with listener(tmp_path) as found:
        server = start({"doubler": {**toy("doubler"), "addresses": [found.address, found.address], "token_file": str(found.token_file)}})
        large = np.arange(100_000, dtype=np.float32).tolist()
        assert double(server, large) == [(2 * np.asarray(large)).tolist()]
        instances = found.instances()
        assert len(instances) == 2
        assert psutil.Process(server.process.pid).children() == []
        for instance in instances:  # connections that break are made again
            instance.kill()
        wait_for(lambda: server.status("doubler")["restarts"] == 2 and server.status("doubler")["ready"])
        assert double(server, [1.0]) == [[2.0]]
        server.stop()
        wait_for(lambda: not found.instances())


@pytest.mark.parametrize("is_shared", [True, False], ids=["with a shared key", "with certificates"])
def test_a_listener_in_another_python_answers_large_frames(python: str, tmp_path: Path, is_shared: bool) -> None:
    authority = Authority(tmp_path / "authority")
    there, here = (TlsFiles(*authority.write(tmp_path, name), str(authority.file)) for name in ("worker", "gateway"))
    options = ["--tls-cert", there.certificate, "--tls-key", there.key, "--tls-client-ca", there.authorities]
    array = np.random.default_rng(0).standard_normal((4, 1 << 18), np.float32)

    async def scenario(found: Listener) -> np.ndarray:
        instance = remote(found, certificates=None if is_shared else here)
        await instance.start()
        try:
            buffers: list[object] = []
            call = {"interface": "tensors", "inputs": pack_arrays({"x": array}, buffers), "answer": "tensors"}
            answer: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
            instance.infer({"op": "infer", "calls": [call]}, buffers, answer.set_result)  # type: ignore[arg-type]
            frame = await answer
            return unpack_arrays(frame.header["results"][0]["outputs"], frame.buffers)["y"]
        finally:
            await instance.stop()

    with listener(tmp_path, python=python, certificates=() if is_shared else options) as found:
        assert np.array_equal(asyncio.run(scenario(found)), 2 * array)
        wait_for(lambda: not found.instances())


def test_whoever_does_not_have_the_key_gets_no_instance_and_is_told_so(tmp_path: Path) -> None:
    make_key(tmp_path / "wrong")
    with listener(tmp_path) as found:

        async def scenario() -> None:
            await remote(found, tmp_path / "wrong").start()

        with pytest.raises(LoadFailed, match="it has another key.*with the same key"):
            asyncio.run(scenario())
        assert "refused 127.0.0.1" in found.says("refused")
        anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts every listener, and shows no certificate
        anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(found.where) as raw, anybody.wrap_socket(raw) as stranger:
            with suppress(OSError):
                send_line(stranger, ASK_INSTANCE)
            with pytest.raises((OSError, Untrusted)):
                receive_line(stranger, time.monotonic() + 20)
        assert found.instances() == []
        found.connect().close()


def test_what_does_not_have_the_key_is_not_taken_for_a_listener_and_learns_nothing(tmp_path: Path) -> None:
    make_key(tmp_path / "token")
    make_key(tmp_path / "other")
    seen: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def pretend() -> None:
            other = SharedKey(tmp_path / "other")
            with other.wrap(server.accept()[0], server_side=True) as secured:
                try:
                    other.handshake(secured)
                    seen.append(secured.recv(100))
                except OSError as error:
                    seen.append(error)

        thread = threading.Thread(target=pretend)
        thread.start()
        with pytest.raises(Untrusted, match="it has another key"):
            connect(server.getsockname()[:2], SharedKey(tmp_path / "token"), ASK_INSTANCE, 20)
        thread.join()
    assert isinstance(seen[0], OSError)


def test_a_proof_is_of_no_use_on_another_connection(tmp_path: Path) -> None:
    """A man in the middle relays each side's bytes to the other, and then sends data of its own."""
    with listener(tmp_path) as found, socket.create_server(("127.0.0.1", 0)) as between:

        def stand_between() -> None:
            with between.accept()[0] as gateway, socket.create_connection(found.where) as there:
                threading.Thread(target=carry, args=(there, gateway), daemon=True).start()
                carry(gateway, there, first_bytes=3000)
                there.sendall(b"\x00\x00\x00\x10" * 8)  # it cannot impersonate the gateway
                wait_for(lambda: not found.instances())

        thread = threading.Thread(target=stand_between)
        thread.start()
        secured = connect(between.getsockname()[:2], SharedKey(found.token_file), ASK_INSTANCE, 20)
        assert len(found.instances()) == 1
        secured.sendall(bytes(4000))
        thread.join()
        assert found.instances() == []
        secured.close()


def carry(source: socket.socket, target: socket.socket, first_bytes: int = 1 << 30) -> None:
    with suppress(OSError):
        while first_bytes > 0 and (data := source.recv(4096)):
            target.sendall(data)
            first_bytes -= len(data)


def test_silent_strangers_cost_no_place_and_are_cut_off(tmp_path: Path) -> None:
    with listener(tmp_path, handshake_s=2) as found, ExitStack() as crowd:
        strangers = [crowd.enter_context(socket.create_connection(found.where)) for _ in range(300)]
        found.connect().close()  # however many there are
        strangers[-1].settimeout(20)
        told = b""
        while data := strangers[-1].recv(100):
            told += data
        assert b"upgrade the gateway" in told, "as an older gateway is told that waits to be greeted"
        assert len(told) >= 36
        assert "within 2 s" in found.says("within")
        found.connect().close()


def test_a_handshake_that_drips_is_cut_off(tmp_path: Path) -> None:
    with listener(tmp_path, handshake_s=3) as found, socket.create_connection(found.where) as drip:
        sent = 0
        with suppress(OSError):
            for byte in b"\x16\x03\x01\x02\x00" + bytes(500):
                drip.sendall(bytes([byte]))
                sent += 1
                time.sleep(0.1)
        assert 5 < sent < 300, "each byte does not begin the time anew"


def test_a_listener_outlives_running_out_of_descriptors(tmp_path: Path) -> None:
    with listener(tmp_path, handshake_s=3, descriptors=24) as found, ExitStack() as crowd:
        for _ in range(60):
            crowd.enter_context(socket.create_connection(found.where))
        assert "trying again" in found.says("cannot accept")
        crowd.close()
        instance = found.connect(ASK_INSTANCE)
        wait_for(lambda: len(found.instances()) == 1)
        instance.close()
        wait_for(lambda: not found.instances())


def test_more_instances_than_there_are_places_are_refused_with_the_reason(tmp_path: Path) -> None:
    with listener(tmp_path, instances=1) as found:
        first = found.connect(ASK_INSTANCE)
        with pytest.raises(Untrusted, match="1 instances are running there already"):
            found.connect(ASK_INSTANCE)
        first.close()
        wait_for(lambda: not found.instances())
        wait_for(lambda: takes(found))


def takes(found: Listener) -> bool:
    try:
        found.connect(ASK_INSTANCE).close()
    except Untrusted:
        return False
    return True


def test_an_instance_that_ends_is_noticed_though_a_process_that_it_left_holds_its_socket(tmp_path: Path) -> None:
    with listener(tmp_path, code=FORKS) as found, found.connect(ASK_INSTANCE) as instance:
        instance.settimeout(50)  # what it left goes on for 60 s
        assert instance.recv(1) == b""


def test_an_older_listener_is_recognised_by_its_greeting(tmp_path: Path) -> None:
    make_key(tmp_path / "token")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            with server.accept()[0] as connection:
                connection.sendall(b"HUB1" + bytes(32))
                connection.recv(4096)

        thread = threading.Thread(target=greet)
        thread.start()
        with pytest.raises(Untrusted, match="both sides must run the same version"):
            connect(server.getsockname()[:2], SharedKey(tmp_path / "token"), ASK_INSTANCE, 20)
        thread.join()


def test_a_key_is_made_by_a_command_for_its_owner_alone_and_never_overwritten(tmp_path: Path) -> None:
    done = hub("key", "remote", tmp_path / "shared", home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "--token-file shared" in done.stdout
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o600
    SharedKey(tmp_path / "shared")
    assert "never overwritten" in hub("key", "remote", tmp_path / "shared", home=tmp_path).stderr


def test_an_address_where_nothing_listens_is_told_with_what_to_start_there(start: Start, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    make_key(token_file)
    address = f"127.0.0.1:{free_port()}"
    server = start({"doubler": {**toy("doubler"), "addresses": [address], "token_file": str(token_file)}}, wait=False)
    assert server.process.wait(60) == 1
    assert f"no instance is available at {address}" in server.log.read_text()
    assert f"python -m hubserve.instance --listen {address}" in server.log.read_text()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--listen", "127.0.0.1:0"], "--listen needs --token-file"),
        (["--listen", "127.0.0.1:0", "--tls-cert", "TOKEN", "--tls-key", "TOKEN"], "--listen needs --token-file, or --tls-cert"),
        (
            ["--listen", "127.0.0.1:0", "--token-file", "TOKEN", "--tls-cert", "TOKEN", "--tls-key", "TOKEN", "--tls-client-ca", "TOKEN"],
            "--listen needs --token-file, or --tls-cert",
        ),
        (["--listen", "127.0.0.1:0", "--tls-cert", "OLD", "--tls-key", "OLD", "--tls-client-ca", "TOKEN"], "are not PEM files of a"),
        (["--listen", "127.0.0.1:0", "--tls-cert", "TOKEN", "--tls-key", "TOKEN", "--tls-client-ca", "OLD"], "of authorities"),
        (["--listen", "nowhere", "--token-file", "TOKEN"], "'nowhere' is not an address"),
        (["--listen", "127.0.0.1:0", "--token-file", "OLD"], "tokens of older versions are not accepted"),
        (["--listen", "127.0.0.1:0", "--token-file", "BROKEN"], "cannot be used"),
        (["--listen", "127.0.0.1:0", "--token-file", "/nowhere/token"], "cannot read the token file"),
    ],
)
def test_a_listener_that_cannot_be_started_says_why(tmp_path: Path, options: list[str], says: str) -> None:
    make_key(tmp_path / "TOKEN")
    (tmp_path / "OLD").write_text("a token of thirty-two characters")
    (tmp_path / "BROKEN").write_text((tmp_path / "TOKEN").read_text().replace("PRIVATE KEY", "SOMETHING"))
    command = [sys.executable, "-m", "hubserve.instance", *options]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert says in done.stderr


def test_the_output_of_a_module_elsewhere_names_it_and_its_requests(start: Start, tmp_path: Path) -> None:
    with listener(tmp_path) as found:
        server = start({"talkative": {**toy("talkative"), "addresses": [found.address], "token_file": str(found.token_file)}})
        assert "INFO [talkative@1.2.3#0] constructed\n" in found.says("constructed")
        for how in ("print", "log"):
            server.predict("talkative", json={"how": how, "text": f"{how} elsewhere"}, headers={"X-Request-Id": "mine-1"})
        assert "INFO [talkative@1.2.3#0] [request mine-1] print elsewhere\n" in found.says("print elsewhere")
        assert "ERROR [talkative@1.2.3#0] [request mine-1] log elsewhere\n" in found.says("log elsewhere")
        server.predict("talkative", json={"how": "crash", "text": "the last words"})
        assert "[talkative@1.2.3#0]" in found.says("Fatal Python error: Segmentation fault")
        assert "the last words" in found.says("the last words")
