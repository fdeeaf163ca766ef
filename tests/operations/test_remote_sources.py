"""Modules at other places than S3: Debian's SSH server, Azurite, emulators of Google's storage and of OSS; the page's commands."""

import contextlib
import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
import requests

from hubserve.errors import InstallError
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.remotes.copies import StoreCopy
from tests.behaviours.model_control.models import X, client_of, compute
from tests.conftest import ROOT, Server, Start, free_port, hub, wait_for
from tests.operations.programs import MISSING, program, root_only
from tests.remote_places import KEY, S3_ENVIRON, SECRET, hub_server, s3_server, texts_below, web_index
from tests.triton_models import scale, write_scale

#: a folder with the sources of Alibaba's emulator
OSS_EMULATOR = "HUBSERVE_OSS_EMULATOR"
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


def check_emptying(address: str, missing: str, delete: Callable[[], object], folder: Path) -> None:
    """Check that an emptied store is believed at the second look, and that a place which is missing never counts as an empty store."""
    copy, never = (StoreCopy(each, folder / "copies", InstallSettings()) for each in (address, missing))
    copy.sync()
    assert copy.folder.joinpath("double/1/model.onnx").is_file()
    shutil.copytree(copy.folder.parent.parent, never.folder.parent.parent)  # as if it had been there before
    delete()
    with pytest.raises(InstallError, match="until the next look"):
        copy.sync()
    copy.sync()
    assert not list(copy.folder.iterdir())
    for _ in range(3):
        with pytest.raises(InstallError):
            never.sync()
    assert never.folder.joinpath("double/1/model.onnx").is_file()


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


def test_a_store_on_an_ssh_server_is_served(
    ssh: tuple[int, Path], models: Path, tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, user = ssh
    (models / "store" / "link").symlink_to("/etc")
    settings = {"model_store": [f"sftp://root@127.0.0.1:{port}{models}/store"], "model_control": "poll", "poll_s": 0.5}
    server = start({}, environ={"HOME": str(user)}, **settings)
    client = client_of(server)
    assert np.array_equal(compute(client, "double"), X * 2)
    write_scale(models / "store", "triple", factor=3.0)
    wait_for(lambda: client.is_model_ready("triple"))
    server.stop()
    monkeypatch.setenv("HOME", str(user))
    address = f"sftp://root@127.0.0.1:{port}{models}"

    def delete() -> None:
        shutil.rmtree(models / "store")
        (models / "store").mkdir()

    check_emptying(f"{address}/store", f"{address}/missing", delete, tmp_path)


def test_a_store_in_azurite_is_served(models: Path, tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    npm, node = program("npm"), program("node")
    pytest.importorskip("adlfs")
    command = [npm, "install", "--loglevel=error", "--prefix", str(tmp_path / "npm"), "azurite"]
    installed = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if installed.returncode:
        pytest.skip(f"{MISSING} azurite of npm: {installed.stderr.strip()[-300:]}")
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
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection)
        with BlobServiceClient.from_connection_string(connection) as service:
            blobs = service.get_container_client("models")
            check_emptying("az://models/store", "az://missing/store", lambda: blobs.delete_blobs(*blobs.list_blob_names()), tmp_path)
    assert AZURE_KEY not in texts_below(server.home, server.log, again.log)


def test_a_store_in_an_emulator_of_googles_storage_is_served(
    models: Path, tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        requests.post(
            f"{url}/upload/storage/v1/b/models/o", params={"uploadType": "media", "name": "other"}, data=b"x", timeout=10
        ).raise_for_status()
        server = start({}, model_store=["gs://models/store"], environ={"STORAGE_EMULATOR_HOST": url})
        assert np.array_equal(compute(client_of(server), "double"), X * 2)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)

        def delete() -> None:
            for each in (models / "store").rglob("*.*"):
                name = quote(each.relative_to(models).as_posix(), safe="")
                requests.delete(f"{url}/storage/v1/b/models/o/{name}", timeout=10).raise_for_status()

        check_emptying("gs://models/store", "gs://missing/store", delete, tmp_path)


@pytest.fixture
def oss(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment for Alibaba's emulator of OSS, which is a program of Ruby."""
    ruby, sources = program("ruby"), os.environ.get(OSS_EMULATOR)
    if not sources:
        pytest.skip(f"{MISSING} emulates OSS: name a folder with the sources of github.com/aliyun/oss-emulator by {OSS_EMULATOR}")
    pytest.importorskip("ossfs")
    emulator = tmp_path / "emulator"
    shutil.copytree(sources, emulator)
    (tmp_path / "objects").mkdir()
    listing = emulator / "lib" / "emulator" / "bucket.rb"
    text = listing.read_text().replace("xml.ListBucketResult(:xmlns => HttpMsg::XMLNS)", "xml.ListBucketResult")
    listing.write_text(text)  # the service's listings have no namespace, and its library for Python knows none
    port = free_port()
    command = [ruby, "-C", str(emulator), "-I", "lib", "bin/emulator", "-r", str(tmp_path / "objects"), "-p", str(port)]
    with process(command, tmp_path / "oss.log", port):
        yield {"OSS_ENDPOINT": f"http://127.0.0.1:{port}", "OSS_ACCESS_KEY_ID": KEY, "OSS_ACCESS_KEY_SECRET": SECRET}


def test_a_store_in_an_emulator_of_oss_is_served_and_an_empty_listing_is_not_believed(
    oss: dict[str, str], models: Path, start: Start
) -> None:
    import oss2

    bucket = oss2.Bucket(oss2.Auth(KEY, SECRET), oss["OSS_ENDPOINT"], "models")
    bucket.create_bucket()
    for each in (models / "store").rglob("*.*"):
        bucket.put_object(each.relative_to(models).as_posix(), each.read_bytes())
    big = os.urandom(9 << 20)  # of two requests
    bucket.put_object("store/double/notes.bin", big)
    settings = {"model_store": ["oss://models/store"], "model_control": "poll", "poll_s": 0.5}
    server = start({}, environ=oss, **settings)
    client = client_of(server)
    assert np.array_equal(compute(client, "double"), X * 2)
    assert next((server.home / "cache").rglob("notes.bin")).read_bytes() == big
    write_scale(models / "store", "triple", factor=3.0)
    for each in (models / "store" / "triple").rglob("*.*"):
        bucket.put_object(each.relative_to(models).as_posix(), each.read_bytes())
    wait_for(lambda: client.is_model_ready("triple"))
    for each in [*oss2.ObjectIterator(bucket)]:
        bucket.delete_object(each.key)
    wait_for(lambda: "is not given out" in server.log.read_text())
    time.sleep(2)  # four polls
    assert np.array_equal(compute(client, "double"), X * 2)
    assert SECRET not in texts_below(server.home, server.log)


PAGE = (ROOT / "docs" / "remote-sources.md").read_text("utf-8")


@pytest.fixture
def commands() -> list[str]:
    """The page's commands, in their order."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


def test_the_commands_of_the_page_do_what_it_says(commands: list[str], models: Path, home: Path, tmp_path: Path) -> None:
    pytest.importorskip("s3fs")
    pytest.importorskip("modelscope_hub")
    model = (models / "files" / "halver.onnx").read_bytes()
    shutil.copytree(ROOT / "tests" / "modules" / "doubler", models / "clas_system")
    (models / "mnist.onnx").write_bytes(model)
    with contextlib.ExitStack() as stack:
        s3 = stack.enter_context(s3_server(tmp_path / "moto.log"))
        repository = stack.enter_context(hub_server())
        web = stack.enter_context(web_index(models))
        repository.files["onnx/model.onnx"] = model
        for folder in ("clas_system", "store"):
            s3.put(models / folder, folder)
        # AWS' own variable leads s3://BUCKET to the server here
        environ = {**repository.environ, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3.port}", **S3_ENVIRON}
        replaced = {"ORGANISATION/NAME": "org/name", "COMMIT": repository.commit, "https://models.example.com/": web}
        done: list[str] = []
        for command in commands:
            words = shlex.split(functools.reduce(lambda text, shown: text.replace(shown, replaced[shown]), replaced, command))
            if words[0] == "export":
                assert {each.partition("=")[0] for each in words[1:]} == {
                    "AWS_ACCESS_KEY_ID",
                    "AWS_SECRET_ACCESS_KEY",
                    "AWS_DEFAULT_REGION",
                }
            elif words[1:3] == ["serving", "start"]:
                port = free_port()
                server = Server([*words[3:], "-p", str(port)], port, home, tmp_path / "server.log", cwd=tmp_path, **environ)
                try:
                    client = client_of(server.wait_until_ready())
                    name, factor = ("double", 2) if "--model-store" in words else ("digits", 0.5)
                    assert np.array_equal(compute(client, name), X * factor)
                finally:
                    server.stop()
            else:
                answer = hub(*words[1:], home=home, environ=environ, cwd=tmp_path)
                assert answer.returncode == 0, answer.stderr
            done.append(words[1])
        assert done == ["install", "install", "download", "serving", "AWS_ACCESS_KEY_ID=...", "serving"]
        assert repository.commit in hub("show", "classifier", home=home).stdout
        assert hub("verify", "classifier", home=home).returncode == 0
        assert list((tmp_path / "downloads").iterdir())
