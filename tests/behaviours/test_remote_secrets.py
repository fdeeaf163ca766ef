"""Credentials for remote stores stay in the environment: they are in no log, answer, error or file, also at the most talkative settings."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests

from hubserve.export import TARGETS
from hubserve.registry.remotes.secrets import VARIABLES
from tests.behaviours.model_control.models import X, client_of, compute
from tests.conftest import Start, hub, wait_for
from tests.remote_places import KEY, S3, S3_ENVIRON, SECRET, TOKEN, Hub, hub_server, s3_server, texts_below
from tests.triton_models import scale, write_scale

pytest.importorskip("s3fs")
pytest.importorskip("huggingface_hub")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    folder = tmp_path_factory.mktemp("s3")
    with s3_server(folder / "moto.log") as server:
        write_scale(folder / "store", "double")
        server.put(folder / "store", "store")
        yield server


@pytest.fixture
def places(s3: S3, tmp_path: Path) -> Iterator[tuple[dict[str, str], Hub]]:
    """The environment with the keys of a bucket and of a hub, and the hub."""
    with hub_server() as repository:
        repository.token = TOKEN
        scale(tmp_path / "halver.onnx", 0.5)
        repository.files["model.onnx"] = (tmp_path / "halver.onnx").read_bytes()
        yield {**S3_ENVIRON, **repository.environ}, repository


def without_secrets(text: str) -> None:
    for secret in (KEY, SECRET, TOKEN):
        assert secret not in text


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_server_shows_and_writes_no_credentials(
    s3: S3, places: tuple[dict[str, str], Hub], home: Path, tmp_path: Path, start: Start, log_format: str
) -> None:
    environ, _ = places
    server = start(
        {"halver": {"init_args": {"directory": "hf:org/name"}, "workers": 1}},
        model_store=[f"{s3.address}/store"],
        model_control="poll",
        poll_s=0.3,
        log_level="debug",
        log_format=log_format,
        access_log="json",
        access_log_file=str(tmp_path / "access.log"),
        environ=environ,
    )
    client = client_of(server)
    assert np.array_equal(compute(client, "double"), X * 2)
    assert np.array_equal(compute(client, "halver"), X / 2)
    shown = [requests.get(server.url + path, timeout=10).text for path in ("/status", "/metrics", "/", "/v2", "/v2/models/double/config")]
    shown.append(requests.post(server.url + "/v2/repository/index", timeout=10).text)
    shown.append(requests.post(server.url + "/v2/models/double/infer", data="{", timeout=10).text)
    s3.stop()
    try:
        wait_for(lambda: "cannot poll" in server.log.read_text())
        reloaded = hub("serving", "reload", "-p", server.port, home=home, environ=environ)
        shown += [reloaded.stdout, reloaded.stderr]
    finally:
        s3.start()
        s3.client().create_bucket(Bucket="models")
        write_scale(tmp_path / "store", "double")
        s3.put(tmp_path / "store", "store")
    without_secrets("\n".join([*shown, texts_below(home, server.log, tmp_path / "access.log")]))


def test_commands_and_their_errors_show_no_credentials(s3: S3, places: tuple[dict[str, str], Hub], home: Path, tmp_path: Path) -> None:
    environ, repository = places
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"modules_info": {}, "model_store": [f"{s3.address}/store", f"{s3.address}/nothing"]}))
    commands: list[tuple[object, ...]] = [
        ("install", "hf:org/name", "--name", "halver"),
        ("show", "halver", "--json"),
        ("doctor", "--network", config),
        ("install", "hf:org/other"),
        ("install", f"{s3.address}/nothing"),
        ("install", f"s3://{KEY}:{SECRET}@models/store"),
        ("serving", "start", "-c", config),
    ]
    done = [hub(*command, home=home, environ=environ) for command in commands]
    assert [each.returncode == 0 for each in done] == [True, True, False, False, False, False, False], done
    repository.token = "another"
    refused = hub("install", "hf:org/name", home=home, environ=environ)
    assert refused.returncode != 0
    without_secrets("\n".join(each.stdout + each.stderr for each in [*done, refused]) + texts_below(home))


@pytest.mark.parametrize("target", TARGETS)
def test_an_export_names_the_variables_of_credentials_and_has_no_value(
    target: str, s3: S3, places: tuple[dict[str, str], Hub], home: Path, tmp_path: Path
) -> None:
    environ, _ = places
    config, out = tmp_path / "config.json", tmp_path / "out"
    stores = [f"{s3.address}/store", f"{s3.address}/nothing"]
    config.write_text(json.dumps({"modules_info": {"halver": {"init_args": {"directory": "hf:org/name"}}}, "model_store": stores}))
    done = hub("export", target, "-c", config, "-o", out, "--extras", "", home=home, environ=environ)
    assert done.returncode == 0, done.stderr
    written = texts_below(out)
    without_secrets(done.stdout + done.stderr + written)
    found = json.loads(next(out.rglob("config.json")).read_text())
    assert found["model_store"] == stores, "a store elsewhere stays there"
    assert "does not exist" in done.stdout, "what is not known here is said"
    assert next(out.rglob("model.onnx")).is_file(), "a module travels"
    assert "s3fs==" in next(out.rglob("requirements.txt")).read_text()
    for name in VARIABLES["s3"]:
        assert name in written + done.stdout


def test_copies_outlive_a_cleared_cache_while_they_are_served(s3: S3, places: tuple[dict[str, str], Hub], home: Path, start: Start) -> None:
    environ, _ = places
    server = start({}, model_store=[f"{s3.address}/store"], environ=environ)
    assert hub("clear", home=home).returncode == 0
    assert list((home / "cache" / "remote").rglob("model.onnx"))
    assert hub("serving", "reload", "-p", server.port, home=home).returncode == 0
    assert np.array_equal(compute(client_of(server), "double"), X * 2)
    server.stop()
    assert hub("clear", home=home).returncode == 0
    assert not list((home / "cache").rglob("model.onnx"))
