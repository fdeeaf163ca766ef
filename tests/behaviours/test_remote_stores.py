"""Model stores and modules in a bucket: a real S3 server, the command line, and Triton's client."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from tests.behaviours.model_control.models import X, client_of, compute, states
from tests.conftest import Server, Start, free_port, hub, wait_for
from tests.remote_places import KEY, S3, S3_ENVIRON, SECRET, s3_server, texts_below, web_index
from tests.triton_models import scale, write_scale

pytest.importorskip("s3fs")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3") / "moto.log") as server:
        yield server


@pytest.fixture
def uploaded(s3: S3, tmp_path: Path) -> Callable[..., str]:
    """Write models and upload them as a store; return its address."""

    def function(**factors: float) -> str:
        folder = tmp_path / "upload"
        shutil.rmtree(folder, ignore_errors=True)
        for name, factor in factors.items():
            write_scale(folder, name, factor=factor)
        s3.put(folder, tmp_path.name)
        return f"{s3.address}/{tmp_path.name}"

    return function


def test_a_store_in_a_bucket_is_followed(s3: S3, uploaded: Callable[..., str], start: Start, home: Path, tmp_path: Path) -> None:
    store = uploaded(double=2.0, triple=3.0)
    server = start({}, model_store=[store], model_control="poll", poll_s=0.3, environ=S3_ENVIRON)
    client = client_of(server)
    assert np.array_equal(compute(client, "double"), X * 2)
    pids, before = server.instance_pids("triple"), len(s3.downloads())
    uploaded(double=5.0)
    wait_for(lambda: np.array_equal(compute(client, "double"), X * 5))
    # the configuration was uploaded again with the same content, and so has the same ETag
    assert [each.partition(tmp_path.name)[2] for each in s3.downloads()[before:]] == ["/double/1/model.onnx"]
    assert server.instance_pids("triple") == pids
    s3.delete(f"{tmp_path.name}/triple/")
    wait_for(lambda: "triple" not in states(client))
    s3.stop()
    wait_for(lambda: "cannot poll the model store" in server.log.read_text())
    assert np.array_equal(compute(client, "double"), X * 5)
    time.sleep(1)  # three polls
    s3.start()  # moto forgets what it held
    s3.client().create_bucket(Bucket="models")
    uploaded(double=7.0)
    wait_for(lambda: np.array_equal(compute(client, "double"), X * 7))
    assert "the remote model stores answer again" in server.log.read_text()
    assert server.log.read_text().count("Could not connect") == 1
    s3.delete(tmp_path.name)
    wait_for(lambda: "double" not in states(client))
    assert "lists no files any more" in server.log.read_text()
    written = texts_below(home, server.log)
    assert SECRET not in written
    assert KEY not in written


def test_a_store_that_does_not_answer_is_served_from_its_copy(s3: S3, uploaded: Callable[..., str], start: Start) -> None:
    settings = {"model_store": [uploaded(double=2.0)], "environ": S3_ENVIRON}
    start({}, **settings).stop()
    s3.stop()
    try:
        server = start({}, **settings)
        assert np.array_equal(compute(client_of(server), "double"), X * 2)
        assert "what was copied before is served" in server.log.read_text()
    finally:
        s3.start()
        s3.client().create_bucket(Bucket="models")


def test_only_models_that_are_loaded_are_fetched(s3: S3, uploaded: Callable[..., str], start: Start) -> None:
    settings = {"model_store": [uploaded(double=2.0, triple=3.0)], "model_control": "explicit", "environ": S3_ENVIRON}
    before = len(s3.downloads())
    server = start({}, load_model=["double"], **settings)
    client = client_of(server)
    assert sorted(states(client)) == ["double", "triple"]
    assert not any("triple/1" in each for each in s3.downloads()[before:])
    client.load_model("triple")
    assert np.array_equal(compute(client, "triple"), X * 3)
    uploaded(triple=6.0)
    client.load_model("triple")
    assert np.array_equal(compute(client, "triple"), X * 6)
    s3.delete(f"{settings['model_store'][0].rpartition('/')[2]}/triple/")
    client.unload_model("triple")
    with pytest.raises(InferenceServerException):
        client.load_model("triple")


def test_a_bucket_that_cannot_be_read_is_an_error_without_keys(s3: S3, home: Path) -> None:
    answer = hub("serving", "start", "--model-store", s3.address.replace("models", "nothing"), home=home, environ=S3_ENVIRON)
    assert answer.returncode != 0
    assert "does not exist" in answer.stderr
    for address in (f"s3://{KEY}:{SECRET}@models/store", f"s3://http://{KEY}:{SECRET}@127.0.0.1:{s3.port}/models"):
        answer = hub("serving", "start", "--model-store", address, home=home, environ=S3_ENVIRON)
        assert answer.returncode != 0
        assert "Keep credentials in the environment" in answer.stderr
        assert SECRET not in answer.stderr + answer.stdout


def test_a_model_in_a_bucket_is_installed_and_verified(s3: S3, tmp_path: Path, home: Path) -> None:
    scale(tmp_path / "upload" / "halver.onnx", 0.5)
    s3.put(tmp_path / "upload", "files")
    address = f"{s3.address}/files/halver.onnx"
    answer = hub("install", address, "--json", home=home, environ=S3_ENVIRON)
    assert answer.returncode == 0, answer.stderr
    document = json.loads(answer.stdout)
    assert document["name"] == "halver"
    assert document["provenance"]["url"] == address
    assert len(document["provenance"]["sha256"]) == 64
    assert hub("verify", "halver", home=home).returncode == 0
    assert SECRET not in answer.stdout + answer.stderr + texts_below(home)
    folder = hub("install", f"{s3.address}/files", home=home, environ=S3_ENVIRON)
    assert folder.returncode == 0, folder.stderr


def test_modules_at_addresses_are_served(s3: S3, tmp_path: Path, home: Path, start: Start) -> None:
    scale(tmp_path / "upload" / "tripler.onnx", 3.0)
    s3.put(tmp_path / "upload", "served")
    with web_index(tmp_path) as web:
        modules = {
            "tripler": {"init_args": {"directory": f"{s3.address}/served/tripler.onnx"}, "workers": 1},
            "named": {"init_args": {"directory": f"{web}upload/"}, "workers": 1},
        }
        server = start(modules, environ=S3_ENVIRON)
    client = client_of(server)
    assert np.array_equal(compute(client, "tripler"), X * 3)
    assert np.array_equal(compute(client, "named"), X * 3)


def test_a_store_of_a_web_server_is_followed(tmp_path: Path, start: Start) -> None:
    store = tmp_path / "web"
    write_scale(store, "double")
    with web_index(tmp_path) as web:
        server = start({}, model_store=[f"{web}web/"], model_control="poll", poll_s=0.3)
        client = client_of(server)
        assert np.array_equal(compute(client, "double"), X * 2)
        write_scale(store, "triple", factor=3.0)
        wait_for(lambda: client.is_model_ready("triple"))
        shutil.rmtree(store / "double")
        wait_for(lambda: "double" not in states(client))


def test_an_address_is_served_by_the_command_line(s3: S3, tmp_path: Path, home: Path) -> None:
    scale(tmp_path / "upload" / "model.onnx", 4.0)
    s3.put(tmp_path / "upload", "quadrupler")
    port = free_port()
    addresses = [f"{s3.address}/quadrupler", f"again={s3.address}/quadrupler/model.onnx"]
    server = Server(["-m", *addresses, "-p", str(port), "-w", "1"], port, home, tmp_path / "server.log", **S3_ENVIRON)
    try:
        client = client_of(server.wait_until_ready())
        assert np.array_equal(compute(client, "quadrupler"), X * 4)
        assert np.array_equal(compute(client, "again"), X * 4)
    finally:
        server.process.kill()
        server.process.wait(60)
