"""Buckets: moto's S3 server, also behind a proxy that disturbs its answers; two processes at once."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from hubserve.errors import HubError, InstallError
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.downloads.http import Interrupted
from hubserve.registry.progress import silent
from hubserve.registry.remotes import open_remote
from hubserve.registry.remotes.copies import StoreCopy, copy_of_module
from hubserve.registry.remotes.mirror import Mirror
from tests.conftest import ROOT
from tests.remote_places import S3, S3_ENVIRON, SECRET, s3_server

pytest.importorskip("s3fs")

SETTINGS = InstallSettings(fetch_timeout_s=3)
BIG = 9 << 20  # more than one request


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3") / "moto.log") as server:
        yield server


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in S3_ENVIRON.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def bucket(s3: S3, tmp_path: Path) -> str:
    """An address that holds ``m/1/model.onnx`` of two requests' size and ``m/config.pbtxt``."""
    (tmp_path / "up" / "m" / "1").mkdir(parents=True)
    (tmp_path / "up" / "m" / "1" / "model.onnx").write_bytes(os.urandom(BIG))
    (tmp_path / "up" / "m" / "config.pbtxt").write_text("x")
    s3.put(tmp_path / "up", tmp_path.name)
    return f"{s3.address}/{tmp_path.name}"


@contextmanager
def proxy(port: int, after_bytes: int, times: int) -> Iterator[int]:
    """Pass connections on, and stop passing answers on after some bytes, for the first connections whose answers are as long."""
    left = [times]

    def answer(client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", port)) as server:
            threading.Thread(target=copy, args=(client, server), daemon=True).start()
            sent = 0
            with suppress(OSError):
                while chunk := server.recv(65536):
                    sent += len(chunk)
                    if left[0] and sent > after_bytes:
                        left[0] -= 1
                        return
                    client.sendall(chunk)

    def copy(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while chunk := source.recv(65536):
                target.sendall(chunk)
            target.shutdown(socket.SHUT_WR)

    def accept(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


def test_cut_connections_are_taken_up_again(s3: S3, bucket: str, tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "mirror", "store", SETTINGS)
    with proxy(s3.port, 3 << 20, 2) as port:
        mirror.sync(open_remote(bucket.replace(str(s3.port), str(port)), SETTINGS))
    assert (mirror.files / "m/1/model.onnx").read_bytes() == (tmp_path / "up/m/1/model.onnx").read_bytes()


def test_a_server_that_is_silent_is_given_up(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"s3://127.0.0.1:{listener.getsockname()[1]}/models"
        with pytest.raises(Interrupted) as caught:
            open_remote(address, SETTINGS._replace(fetch_timeout_s=1)).listing()
    assert SECRET not in str(caught.value)


def test_unsafe_names_are_refused(s3: S3, tmp_path: Path) -> None:
    s3.client().put_object(Bucket="models", Key=f"{tmp_path.name}-bad/../outside", Body=b"x")
    with pytest.raises(HubError):
        Mirror(tmp_path / "mirror", "store", SETTINGS).sync(open_remote(f"{s3.address}/{tmp_path.name}-bad", SETTINGS))
    assert not (tmp_path / "mirror" / "files").exists()
    assert not list(tmp_path.rglob("outside"))


def test_objects_in_place_of_folders_are_no_files(s3: S3, bucket: str, tmp_path: Path) -> None:
    s3.client().put_object(Bucket="models", Key=f"{tmp_path.name}/m/empty/", Body=b"")
    paths = [each.path for each in open_remote(bucket, SETTINGS).listing().files]
    assert paths == ["m/1/model.onnx", "m/config.pbtxt"]


def test_too_much_is_refused_before_it_is_fetched(s3: S3, bucket: str) -> None:
    with pytest.raises(InstallError, match="more than 1000 bytes"):
        open_remote(bucket, SETTINGS._replace(max_bytes=1000)).listing()
    with pytest.raises(InstallError, match="more than 1 files"):
        open_remote(bucket, SETTINGS._replace(max_files=1)).listing()


def test_a_folder_that_is_missing_is_named(bucket: str, tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="does not exist"):
        copy_of_module(bucket + "-nothing", tmp_path / "copies", SETTINGS, silent)
    with pytest.raises(InstallError, match="does not exist"):
        StoreCopy(bucket + "-nothing", tmp_path / "copies", SETTINGS).sync()


def test_an_emptied_store_is_believed_at_the_second_look_and_a_missing_bucket_never(s3: S3, bucket: str, tmp_path: Path) -> None:
    copy = StoreCopy(bucket, tmp_path / "copies", SETTINGS)
    copy.sync()
    assert (copy.folder / "m/1/model.onnx").is_file()
    s3.delete(f"{tmp_path.name}/")
    with pytest.raises(InstallError, match="until the next look finds the same"):
        copy.sync()
    s3.put(tmp_path / "up", tmp_path.name)
    copy.sync()  # it was uploaded again, after everything had been deleted
    assert (copy.folder / "m/1/model.onnx").is_file()
    s3.delete(f"{tmp_path.name}/")
    with pytest.raises(InstallError, match="until the next look finds the same"):
        copy.sync()
    synced = copy.sync()
    assert synced.removed == ["m/1/model.onnx", "m/config.pbtxt"]
    assert list(copy.folder.iterdir()) == []
    assert copy.sync().removed == []
    s3.put(tmp_path / "up", tmp_path.name)
    assert copy.sync().fetched == ["m/1/model.onnx", "m/config.pbtxt"]
    gone = StoreCopy(bucket.replace("/models/", "/other/"), tmp_path / "copies", SETTINGS)
    s3.client().create_bucket(Bucket="other")
    s3.client().put_object(Bucket="other", Key=f"{tmp_path.name}/m/config.pbtxt", Body=b"x")
    gone.sync()
    s3.client().delete_object(Bucket="other", Key=f"{tmp_path.name}/m/config.pbtxt")
    s3.client().delete_bucket(Bucket="other")
    for _ in range(3):
        with pytest.raises(InstallError, match="does not exist"):
            gone.sync()
    assert (gone.folder / "m/config.pbtxt").is_file()


def test_an_object_that_changes_while_it_is_fetched_is_not_kept(s3: S3, bucket: str, tmp_path: Path) -> None:
    def change(step: str, done_bytes: int = 0, total_bytes: int = 0) -> None:
        if done_bytes == 8 << 20:
            s3.client().put_object(Bucket="models", Key=f"{tmp_path.name}/m/1/model.onnx", Body=os.urandom(BIG))

    with pytest.raises(Interrupted, match="has changed while it was fetched"):
        Mirror(tmp_path / "mirror", "store", SETTINGS, change).sync(open_remote(bucket, SETTINGS))
    assert not list((tmp_path / "mirror").rglob("data"))


def test_two_processes_fetch_everything_once(s3: S3, bucket: str, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from hubserve.registry.configuration import InstallSettings as S;"
        "from hubserve.registry.remotes import open_remote; from hubserve.registry.remotes.mirror import Mirror;"
        "print(len(Mirror(Path(sys.argv[2]), 'store', S()).sync(open_remote(sys.argv[1], S())).fetched))"
    )
    command = [sys.executable, "-c", code, bucket, str(tmp_path / "mirror")]
    running = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert sorted(each.communicate(timeout=120)[0].strip() for each in running) == ["0", "0", "2"]
    assert (tmp_path / "mirror/files/store/m/1/model.onnx").stat().st_size == BIG


def test_a_file_in_place_of_a_folder_and_the_reverse(s3: S3, bucket: str, tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "mirror", "store", SETTINGS)
    mirror.sync(open_remote(bucket, SETTINGS))
    s3.delete(tmp_path.name)
    s3.client().put_object(Bucket="models", Key=f"{tmp_path.name}/m/1", Body=b"file")
    s3.client().put_object(Bucket="models", Key=f"{tmp_path.name}/m/config.pbtxt/x", Body=b"folder")
    mirror.sync(open_remote(bucket, SETTINGS))
    assert (mirror.files / "m/1").read_bytes() == b"file"
    assert (mirror.files / "m/config.pbtxt/x").read_bytes() == b"folder"


def test_files_that_were_changed_here_are_fetched_again(s3: S3, bucket: str, tmp_path: Path) -> None:
    mirror = Mirror(tmp_path / "mirror", "store", SETTINGS)
    mirror.sync(open_remote(bucket, SETTINGS))
    (mirror.files / "m/config.pbtxt").write_text("changed here")
    assert mirror.sync(open_remote(bucket, SETTINGS)).fetched == ["m/config.pbtxt"]
    assert (mirror.files / "m/config.pbtxt").read_text() == "x"


@pytest.mark.parametrize(
    ("module", "address", "extra"),
    [
        ("s3fs", "s3://b/x", "s3"),
        ("gcsfs", "gs://b/x", "gcs"),
        ("adlfs", "az://b/x", "azure"),
        ("ossfs", "oss://b/x", "oss"),
        ("sshfs", "ssh://h/x", "ssh"),
        ("huggingface_hub", "hf:a/b", "hf"),
        ("modelscope_hub", "modelscope:a/b", "modelscope"),
    ],
)
def test_a_missing_package_is_named_by_its_extra(module: str, address: str, extra: str) -> None:
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from hubserve.registry.configuration import InstallSettings; from hubserve.registry.remotes import open_remote\n"
        f"open_remote({address!r}, InstallSettings()).listing()"
    )
    environ = {**os.environ, "OSS_ENDPOINT": "https://oss.example.invalid"}
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=120)
    assert f"pip install 'hubserve[{extra}]'" in answer.stderr, answer.stderr
