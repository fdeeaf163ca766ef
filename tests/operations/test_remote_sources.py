"""Modules at other places than S3: Debian's SSH server, Azurite, and an emulator of Google's storage."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests

from tests.behaviours.model_control.models import X, client_of, compute
from tests.conftest import Start, free_port, hub, wait_for
from tests.operations.programs import program, root_only
from tests.remote_places import texts_below
from tests.triton_models import scale, write_scale

#: of every Azurite: its documentation has it
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@contextlib.contextmanager
def process(command: list[str], log: Path, port: int, **environ: str) -> Iterator[None]:
    """Run a server, from when its port is open."""
    with log.open("w") as output:
        running = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **environ})
    try:
        wait_for(lambda: running.poll() is not None or is_open(port), 60)
        assert running.poll() is None, log.read_text()
        yield
    finally:
        running.terminate()
        running.wait(30)


def is_open(port: int) -> bool:
    with contextlib.suppress(requests.ConnectionError, requests.exceptions.InvalidSchema):
        requests.get(f"http://127.0.0.1:{port}/", timeout=5)
        return True
    time.sleep(0.1)
    return False


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    scale(folder / "files" / "halver.onnx", 0.5)
    write_scale(folder / "store", "double")
    return folder


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """The port of an SSH server, and a home whose user has a key for it and knows it."""
    sshd, keygen = program("sshd"), program("ssh-keygen")
    root_only()
    folder = tmp_path / "user"
    (folder / ".ssh").mkdir(parents=True)
    for key in (tmp_path / "host_key", folder / ".ssh" / "id_ed25519"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (tmp_path / "authorized").write_text((folder / ".ssh" / "id_ed25519.pub").read_text())
    port = free_port()
    Path("/run/sshd").mkdir(exist_ok=True)
    (tmp_path / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {tmp_path}/host_key\nAuthorizedKeysFile {tmp_path}/authorized\nStrictModes no\n"
        f"PermitRootLogin prohibit-password\nPasswordAuthentication no\nPidFile {tmp_path}/pid\nSubsystem sftp internal-sftp\n"
    )
    host = (tmp_path / "host_key.pub").read_text()
    (folder / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{port} {host}")
    running = subprocess.Popen([sshd, "-D", "-e", "-f", str(tmp_path / "sshd_config")], stderr=subprocess.DEVNULL)
    time.sleep(1)
    try:
        yield port, folder
    finally:
        running.terminate()
        running.wait(30)


def test_a_model_on_an_ssh_server_is_installed(ssh: tuple[int, Path], models: Path, home: Path) -> None:
    port, user = ssh
    address = f"ssh://root@127.0.0.1:{port}{models}/files/halver.onnx"
    answer = hub("install", address, "--json", home=home, environ={"HOME": str(user)})
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["provenance"]["url"] == address
    (user / ".ssh" / "known_hosts").write_text("")
    answer = hub("install", address, home=home, environ={"HOME": str(user)})
    assert answer.returncode != 0
    assert "HostKeyNotVerifiable" in answer.stderr  # another server could answer in its place


def test_a_store_on_an_ssh_server_is_served(ssh: tuple[int, Path], models: Path, start: Start) -> None:
    port, user = ssh
    (models / "store" / "link").symlink_to("/etc")
    settings = {"model_store": [f"sftp://root@127.0.0.1:{port}{models}/store"], "model_control": "poll", "poll_s": 0.5}
    server = start({}, environ={"HOME": str(user)}, **settings)
    client = client_of(server)
    assert np.array_equal(compute(client, "double"), X * 2)
    write_scale(models / "store", "triple", factor=3.0)
    wait_for(lambda: client.is_model_ready("triple"))


def test_a_store_in_azurite_is_served(models: Path, tmp_path: Path, start: Start) -> None:
    npm, node = program("npm"), program("node")
    pytest.importorskip("adlfs")
    subprocess.run([npm, "install", "--silent", "--prefix", str(tmp_path / "npm"), "azurite"], check=True, timeout=300)
    port, log = free_port(), tmp_path / "azurite.log"
    script = str(tmp_path / "npm/node_modules/azurite/dist/src/blob/main.js")
    command = [node, script, "--blobPort", str(port), "--inMemoryPersistence", "--skipApiVersionCheck"]
    connection = (
        f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={AZURE_KEY};"
        f"BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;"
    )
    with process(command, log, port):
        from azure.storage.blob import BlobServiceClient

        with BlobServiceClient.from_connection_string(connection) as service:
            container = service.create_container("models")
            for each in (models / "store").rglob("*.*"):
                container.upload_blob(each.relative_to(models).as_posix(), each.read_bytes())
        server = start({}, model_store=["az://models/store"], environ={"AZURE_STORAGE_CONNECTION_STRING": connection})
        assert np.array_equal(compute(client_of(server), "double"), X * 2)
        again = start({}, model_store=["as://devstoreaccount1/models/store"], environ={"AZURE_STORAGE_CONNECTION_STRING": connection})
        assert np.array_equal(compute(client_of(again), "double"), X * 2)
    assert AZURE_KEY not in texts_below(server.home, server.log, again.log)


def test_a_store_in_an_emulator_of_googles_storage_is_served(models: Path, tmp_path: Path, start: Start) -> None:
    pytest.importorskip("gcsfs")
    pytest.importorskip("gcp_storage_emulator")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "gcp_storage_emulator", "start", "--host", "127.0.0.1", "--port", str(port), "--in-memory"]
    with process(command, tmp_path / "gcs.log", port):
        requests.post(f"{url}/storage/v1/b", json={"name": "models"}, timeout=10).raise_for_status()
        for each in (models / "store").rglob("*.*"):
            parameters = {"uploadType": "media", "name": each.relative_to(models).as_posix()}
            requests.post(f"{url}/upload/storage/v1/b/models/o", params=parameters, data=each.read_bytes(), timeout=10).raise_for_status()
        server = start({}, model_store=["gs://models/store"], environ={"STORAGE_EMULATOR_HOST": url})
        assert np.array_equal(compute(client_of(server), "double"), X * 2)
