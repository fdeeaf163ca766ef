"""Instances on other machines, to which certificates of an organisation lead instead of a shared key."""

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from hubserve.errors import LoadFailed
from hubserve.gateway.instances.remote_instance import connect, identity
from hubserve.wire.certificates import TlsFiles
from hubserve.wire.tls import ASK_PROBE, Untrusted
from tests.behaviours.certificates import Authority
from tests.behaviours.test_remote import Listener, double, listener, remote
from tests.conftest import Start, hub, toy, wait_for


def files_of(authority: Authority, folder: Path, name: str, trusted: Authority | None = None) -> TlsFiles:
    """A new certificate and key of a side, in files named after it."""
    folder.mkdir(exist_ok=True)
    return TlsFiles(*authority.write(folder, name), str((trusted or authority).file))


@contextmanager
def certified(files: TlsFiles, folder: Path, *names: str, host: str = "127.0.0.1") -> Iterator[Listener]:
    """A listener that has and wants certificates."""
    options = ["--tls-cert", files.certificate, "--tls-key", files.key, "--tls-client-ca", files.authorities]
    options += [word for name in names for word in ("--tls-client-name", name)]
    with listener(folder, host=host, certificates=options) as found:
        yield found


def probe(found: Listener, files: TlsFiles) -> None:
    """Connect as a gateway does, and let the listener confirm it."""
    connect(found.where, identity("", files), ASK_PROBE, 20).close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


def test_a_module_is_served_while_the_certificates_of_both_sides_change(start: Start, tmp_path: Path, authority: Authority) -> None:
    there = files_of(authority, tmp_path / "there", "worker")
    files_of(authority, tmp_path, "gateway")
    paths = {"remote_cert": "gateway.pem", "remote_key": "gateway.key", "remote_ca": str(authority.file)}
    with certified(there, tmp_path, "gateway") as found:
        server = start({"doubler": {**toy("doubler"), "addresses": [found.address], **paths}})
        first, failures, stopped = serial(found, authority), [], threading.Event()

        def load() -> None:
            while not stopped.is_set():
                if double(server, [1.0]) != [[2.0]]:
                    failures.append("a wrong answer")

        thread = threading.Thread(target=load)
        thread.start()
        try:
            files_of(authority, tmp_path / "there", "worker")
            files_of(authority, tmp_path, "gateway")
            assert serial(found, authority) != first
        finally:
            stopped.set()
            thread.join()
        assert not failures
        for instance in found.instances():  # the new connection is made with the new files
            instance.kill()
        wait_for(lambda: server.status("doubler")["restarts"] == 1 and server.status("doubler")["ready"])
        assert double(server, [1.0]) == [[2.0]]


def serial(found: Listener, authority: Authority) -> str:
    """Return the number of the listener's certificate, as a client sees it that has none."""
    context = authority.client()
    with socket.create_connection(found.where, timeout=20) as raw, context.wrap_socket(raw, server_hostname="127.0.0.1") as client:
        return str(client.getpeercert()["serialNumber"])  # type: ignore[index]


def test_a_gateway_of_another_authority_gets_no_instance(tmp_path: Path, authority: Authority) -> None:
    there = files_of(authority, tmp_path / "there", "worker")
    foreign = files_of(Authority(tmp_path / "other"), tmp_path / "foreign", "gateway", trusted=authority)

    async def scenario(found: Listener) -> None:
        await remote(found, certificates=foreign).start()

    with certified(there, tmp_path) as found:
        with pytest.raises(LoadFailed, match="refused the key or certificate.*--tls-cert FILE"):
            asyncio.run(scenario(found))
        assert "its certificate is not accepted here" in found.says("refused")
        with (
            socket.create_connection(found.where, timeout=20) as raw,
            authority.client().wrap_socket(raw, server_hostname="localhost") as bare,
        ):
            with pytest.raises(ssl.SSLError):
                bare.recv(1)
            assert "it has no certificate" in found.says("refused")
        assert found.instances() == []
        probe(found, files_of(authority, tmp_path / "here", "gateway"))


def test_only_gateways_of_the_listed_names_get_instances(tmp_path: Path, authority: Authority) -> None:
    there = files_of(authority, tmp_path / "there", "worker")
    with certified(there, tmp_path, "gateway", "Other.example") as found:
        probe(found, files_of(authority, tmp_path / "here", "gateway"))
        probe(found, files_of(authority, tmp_path / "here", "other.EXAMPLE"))
        with pytest.raises((Untrusted, OSError)):
            probe(found, files_of(authority, tmp_path / "here", "laptop"))
        assert "which --tls-client-name does not list" in found.says("refused")


def test_a_listener_for_another_host_or_of_another_authority_is_not_trusted(tmp_path: Path, authority: Authority) -> None:
    here = files_of(authority, tmp_path / "here", "gateway")
    own = files_of(authority, tmp_path / "there", "worker")
    with certified(own, tmp_path, host="127.0.0.2") as elsewhere, pytest.raises(Untrusted, match="IP address mismatch"):
        probe(elsewhere, here)
    other = Authority(tmp_path / "other")
    foreign = files_of(other, tmp_path / "there", "worker", trusted=authority)
    with certified(foreign, tmp_path) as found, pytest.raises(Untrusted, match="its certificate is not accepted here"):
        probe(found, here)


def test_a_pair_that_does_not_fit_is_not_used(tmp_path: Path, authority: Authority) -> None:
    there, here = files_of(authority, tmp_path / "there", "worker"), files_of(authority, tmp_path / "here", "gateway")
    with certified(there, tmp_path) as found:
        key = Path(there.key).read_bytes()
        files_of(authority, tmp_path / "there", "worker")
        Path(there.key).write_bytes(key)
        probe(found, here)
        assert "the last good certificate stays in use" in found.says("stays in use")


def test_the_doctor_examines_certificates_for_listeners(tmp_path: Path, home: Path, authority: Authority) -> None:
    here = files_of(authority, tmp_path, "gateway")
    Path(here.key).chmod(0o644)
    config = tmp_path / "config.json"

    def examine(**settings: object) -> str:
        module = {**toy("doubler"), "addresses": ["127.0.0.1:1"], **settings}
        config.write_text(json.dumps({"modules_info": {"doubler": module}}))
        return hub("doctor", config, home=home).stdout

    paths = {"remote_cert": "gateway.pem", "remote_key": "gateway.key", "remote_ca": str(authority.file)}
    found = examine(**paths)
    assert "other users of this machine can read the secret" in found
    assert "with a certificate for that name" in found
    assert "are not PEM files of a certificate and its key" in examine(**{**paths, "remote_key": "config.json"})
    assert "has no remote_key and no remote_ca" in examine(remote_cert="gateway.pem") or "remote_key" in examine(remote_cert="gateway.pem")
    assert "has both token_file and remote_cert" in examine(**paths, token_file="x")
