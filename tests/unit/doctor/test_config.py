"""Findings of hub doctor about configurations, each provoked."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hubserve.doctor.config.examine import examine_config
from hubserve.doctor.findings import Finding
from hubserve.engines.gpus import gpu_count
from hubserve.gateway.instances.remote_key import make_key
from tests.conftest import ROOT, free_port, toy
from tests.remote_places import web_index
from tests.triton_models import scale, write_scale
from tests.unit.doctor.found import the, worse_than_notes

Examine = Callable[..., list[Finding]]


@pytest.fixture
def path(tmp_path: Path, home: Path) -> Path:
    return tmp_path / "config.json"


@pytest.fixture
def examine(path: Path) -> Examine:
    """Return a function that writes a configuration of one module and checks it."""

    def write_and_examine(module: dict[str, Any] | None = None, **settings: Any) -> list[Finding]:
        modules = {"shout": {**toy("shout"), "workers": 1, **(module or {})}}
        path.write_text(json.dumps({"modules_info": modules, "port": free_port(), **settings}))
        path.chmod(0o644)
        return worse_than_notes(examine_config(path))

    return write_and_examine


def test_a_good_configuration_has_no_errors(examine: Examine) -> None:
    assert examine() == []


@pytest.mark.parametrize("name", ["", "host", "paddlehub"])
def test_environment_profiles_that_exist_are_fine(examine: Examine, name: str) -> None:
    assert examine({"environment": name}) == []


def test_an_environment_profile_that_does_not_exist_is_an_error(examine: Examine) -> None:
    (found,) = examine({"environment": "padlehub"})
    assert (found.level, found.about) == ("error", "modules_info.shout.environment")
    assert "did you mean 'paddlehub'?" in found.reason


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "cannot be read: No such file"),
        ("{", "not JSON: Expecting property name"),
        ("[]", "must hold a JSON object"),
        ("{}", "modules_info"),
    ],
)
def test_a_file_that_is_no_configuration_is_an_error(path: Path, text: str | None, says: str) -> None:
    if text is not None:
        path.write_text(text)
    (found,) = examine_config(path)
    assert (found.level, found.file, says in found.reason) == ("error", str(path), True)


def test_all_wrong_keys_are_reported_at_once_and_the_rest_is_checked(examine: Examine, path: Path) -> None:
    found = examine({"workrs": 2, "max_batch_size": 0}, prt=1, use_gpu="yes", host="0.0.0.0")
    assert {each.about: each.level for each in found} == {
        "prt": "error",
        "use_gpu": "error",
        "modules_info.shout.workrs": "error",
        "modules_info.shout.max_batch_size": "error",
        "host": "warning",
    }
    assert the(found, "prt").reason == "unknown key 'prt'; did you mean 'port'?"
    assert "Expected `bool`, got `str`" in the(found, "use_gpu").reason
    assert {each.file for each in found} == {str(path)}


def test_a_duplicate_key_and_a_module_that_is_not_an_object_are_reported(path: Path) -> None:
    path.write_text('{"modules_info": {"shout": []}, "workers": 1, "workers": 2}')
    found = examine_config(path)
    assert the(found, "workers").level == "warning"
    assert "Expected `object`, got `array`" in the(found, "modules_info.shout").reason


def test_modules_that_are_not_there_or_called_otherwise_are_errors(path: Path) -> None:
    modules = {
        "nowhere": {},
        "old": {"init_args": {"version": "9"}},
        "loud": toy("shout"),
        "gone": {"init_args": {"directory": "/no/such"}},
    }
    path.write_text(json.dumps({"modules_info": modules, "port": free_port()}))
    found = {each.about: each for each in worse_than_notes(examine_config(path))}
    assert list(found) == [
        "modules_info.nowhere",
        "modules_info.old.init_args.version",
        "modules_info.loud",
        "modules_info.gone.init_args.directory",
    ]
    assert found["modules_info.loud"].reason == "the name of this module is 'shout'"
    assert "there is no folder '/no/such'" in found["modules_info.gone.init_args.directory"].reason


def test_problems_of_its_modules_are_reported_with_the_key(examine: Examine) -> None:
    (found,) = examine({"init_args": {**toy("shout")["init_args"], "sufix": "?"}})
    assert found.about == "modules_info.shout.init_args.sufix"
    assert "did you mean 'suffix'?" in found.reason


def test_a_port_that_is_used_and_a_host_that_is_not_ours_are_errors(examine: Examine) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        (used,) = examine(port=other.getsockname()[1])
    assert (used.level, used.about) == ("error", "port")
    assert "Address already in use" in used.reason
    wrong, open_to_all = examine(host="192.0.2.1")
    assert (wrong.level, wrong.about, "Cannot assign requested address" in wrong.reason) == ("error", "host", True)
    assert (open_to_all.level, open_to_all.about, "neither a key nor a certificate" in open_to_all.reason) == ("warning", "host", True)


def test_files_of_keys_are_checked_and_sent_keys_should_be_encrypted(examine: Examine, tmp_path: Path) -> None:
    (missing,) = examine(access_keys="keys.json")
    assert (missing.level, missing.about, "hub access create" in missing.reason) == ("error", "access_keys", True)
    file = tmp_path / "keys.json"
    file.write_text('{"keys": []}')
    (empty,) = examine(access_keys="keys.json")
    assert "has no key" in empty.reason
    key = {"id": "abcd", "name": "n", "sha256": "0" * 64, "scopes": ["infer"], "modules": ["*"]}
    file.write_text(json.dumps({"keys": [key]}))
    assert examine(access_keys="keys.json") == []
    assert [each.about for each in examine(access_keys="keys.json", host="192.0.2.1")] == ["host", "access_keys"]
    file.chmod(0o666)
    (changeable,) = examine(access_keys="keys.json")
    assert changeable.fix == f"chmod 600 '{file}'"


@pytest.mark.skipif(gpu_count() > 0, reason="this machine has a GPU")
def test_missing_gpus_and_a_paddle_for_cpus_are_reported(examine: Examine) -> None:
    impossible, missing = examine(use_gpu=True, gpu="0")
    assert (impossible.level, impossible.about, "the installed one is built for CPUs" in impossible.reason) == ("error", "use_gpu", True)
    assert (missing.level, missing.about, missing.reason) == ("warning", "gpu", "it names GPU 0, but this machine does not have any")


def test_use_gpu_makes_enable_mkldnn_a_note(examine: Examine, path: Path) -> None:
    examine({"init_args": {**toy("shout")["init_args"], "use_gpu": True, "enable_mkldnn": True}}, gpu="0")
    notes = [each for each in examine_config(path) if each.level == "note"]
    assert "no effect" in the(notes, "modules_info.shout.init_args.enable_mkldnn").reason


def test_use_gpu_without_gpus_and_gpus_without_use_gpu_are_reported(examine: Examine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (unnamed,) = examine(use_gpu=True)
    assert (unnamed.level, unnamed.about) == ("error", "use_gpu")
    assert "set CUDA_VISIBLE_DEVICES" in unnamed.reason
    (unused,) = examine(gpu="0")
    assert (unused.level, unused.about) == ("warning", "gpu")


def test_more_instances_than_cores_or_memory_are_warnings(examine: Examine) -> None:
    found = examine({"workers": 10_000})
    assert [each.about for each in found] == ["workers", "workers"]
    assert "shout 10000" in found[0].reason
    assert "MiB are free" in found[1].reason
    assert len(examine({"workers": 10_000, "max_memory_mb": 1})) <= 2


def test_contradictory_limits_are_reported(examine: Examine) -> None:
    module = {"compute_timeout_s": 20, "max_queue_delay_ms": 10_000, "preferred_batch_sizes": [4, 16], "max_batch_size": 8}
    found = examine(module, request_timeout_s=10, max_body_bytes=2000, max_pending_bytes=1000)
    assert {each.about: each.level for each in found} == {
        "max_pending_bytes": "error",
        "modules_info.shout.compute_timeout_s": "warning",
        "modules_info.shout.max_queue_delay_ms": "error",
        "modules_info.shout.preferred_batch_sizes": "warning",
    }


def test_a_configuration_that_everybody_can_write_is_an_error(examine: Examine, path: Path) -> None:
    examine()
    path.chmod(0o666)
    (found,) = worse_than_notes(examine_config(path))
    assert found.fix == f"chmod o-w '{path}'"


def test_token_files_that_are_missing_old_or_readable_by_others_are_reported(examine: Examine, tmp_path: Path) -> None:
    token = tmp_path / "token"
    module = {"addresses": ["192.0.2.1:9000"], "token_file": str(token)}
    assert "cannot read the token file" in the(examine(module), "token_file").reason
    token.write_text("x" * 32)
    assert "holds no key and certificate" in the(examine(module), "token_file").reason
    token.unlink()
    make_key(token)
    token.chmod(0o644)
    found = the(examine(module), "token_file")
    assert (found.level, found.fix) == ("warning", f"chmod 600 '{token}'")
    token.chmod(0o600)
    assert [each.about for each in examine(module)] == ["modules_info.shout.workers"], "workers and addresses exclude each other"


def test_addresses_where_nothing_or_something_else_listens_are_errors(examine: Examine, tmp_path: Path) -> None:
    token = tmp_path / "token"
    make_key(token)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        addresses = [f"127.0.0.1:{free_port()}", f"127.0.0.1:{other.getsockname()[1]}", "nonsense"]

        def answer() -> None:
            with other.accept()[0] as connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        answering = threading.Thread(target=answer)
        answering.start()
        found = [each for each in examine({"addresses": addresses, "token_file": str(token)}) if "addresses" in each.about]
        answering.join()
    assert [each.about for each in found] == [f"modules_info.shout.addresses.{index}" for index in range(3)]
    assert "Connection refused" in found[0].reason
    assert "it does not speak TLS" in found[1].reason
    assert "is not an address" in found[2].reason


def test_other_machines_are_not_connected_to_unless_asked(examine: Examine, path: Path, tmp_path: Path) -> None:
    examine({"addresses": ["192.0.2.1:9000"], "token_file": str(tmp_path / "token")})
    found = the(examine_config(path), "addresses.0")
    assert (found.level, found.reason) == ("note", "192.0.2.1:9000 was not checked")


def test_other_machines_are_connected_to_when_asked(path: Path, tmp_path: Path, home: Path) -> None:
    address = f"{socket.gethostname()}:{free_port()}"  # this machine under a name other than a loopback's
    modules = {"shout": {**toy("shout"), "addresses": [address], "token_file": str(tmp_path / "token")}}
    path.write_text(json.dumps({"modules_info": modules, "port": free_port()}))
    found = the(examine_config(path, network=True), "addresses.0")
    assert (found.level, f"no instance answers at {address}" in found.reason) == ("error", True)


def test_a_listener_is_recognised(examine: Examine, tmp_path: Path) -> None:
    token = tmp_path / "token"
    make_key(token)
    command = [sys.executable, "-m", "hubserve.instance", "--listen", "127.0.0.1:0", "--token-file", str(token)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environ) as listener:
        assert listener.stderr is not None
        address = listener.stderr.readline().split()[-1]
        found = examine({"addresses": [address], "token_file": str(token)})
        make_key(tmp_path / "other")
        refused = examine({"addresses": [address], "token_file": str(tmp_path / "other")})
        listener.kill()
    assert [each for each in found if "addresses" in each.about] == []
    assert "it has another key" in the(refused, "addresses.0").reason


def test_a_models_file_as_directory_is_fine(path: Path, tmp_path: Path) -> None:
    scale(tmp_path / "net.onnx")
    path.write_text(json.dumps({"modules_info": {"net": {"init_args": {"directory": "net.onnx"}, "workers": 1}}, "port": free_port()}))
    path.chmod(0o644)
    assert worse_than_notes(examine_config(path)) == []


def test_stores_that_are_missing_empty_or_of_one_model_are_found(examine: Examine, tmp_path: Path) -> None:
    write_scale(tmp_path / "store", "double")
    (tmp_path / "empty").mkdir()
    assert examine(model_store=["store"]) == []
    missing, one = examine(model_store=["nowhere", "store/double"])
    assert (missing.about, one.about) == ("model_store.0", "model_store.1")
    assert "is not a folder" in missing.reason
    assert "the folder of one model" in one.reason
    (empty,) = examine(model_store=["empty"])
    assert (empty.level, "holds no model" in empty.reason) == ("warning", True)


def test_places_elsewhere_are_read_only_where_that_is_wanted(path: Path, tmp_path: Path) -> None:
    write_scale(tmp_path / "web", "double")
    with web_index(tmp_path) as web:
        modules = {"there": {"init_args": {"directory": f"{web}nothing.onnx"}}}
        path.write_text(json.dumps({"modules_info": modules, "model_store": [f"{web}web/"], "port": free_port()}))
        path.chmod(0o644)
        for about in ("model_store.0", "modules_info.there.init_args.directory"):
            assert "was not checked" in the(examine_config(path), about).reason
        found = examine_config(path, network=True)
        assert "holds 1 folders of models" in the(found, "model_store.0").reason
        assert the(found, "modules_info.there").level == "error"


def test_an_address_with_a_password_is_an_error_that_does_not_show_it(examine: Examine) -> None:
    (found,) = examine(model_store=["s3://AKIAEXAMPLE:hidden@models/store"])
    assert (found.level, found.about, "hidden" in found.reason + found.fix) == ("error", "model_store.0", False)
