"""The image of ``hub export docker``: its Dockerfile's own steps run in fresh roots of Debian, and what they make serves."""

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import tritonclient.grpc

from tests.conftest import MODULES, ROOT, hub
from tests.operations.containers import Build, Stage, debian_root
from tests.operations.programs import program
from tests.ports import free_port
from tests.triton_models import write_scale

pytestmark = pytest.mark.slow
READY_TIMEOUT_S = 300


def own_address() -> str:
    """Return an address of this machine that is not the loopback's, or skip the test."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            pytest.skip("this machine has no network address")
        return str(probe.getsockname()[0])


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, model_dir: Path, ports: tuple[int, int]) -> Path:
    """The export of the classifier, a toy module and a model store, over HTTP and gRPC."""
    folder = tmp_path_factory.mktemp("export")
    write_scale(folder / "store", "scale")
    modules = {
        "clas_system": {"init_args": {"directory": str(ROOT / "hubmodules" / "clas"), "use_gpu": False}},
        "doubler": {"init_args": {"directory": str(MODULES / "doubler")}},
    }
    settings = {"modules_info": modules, "model_store": ["store"], "port": ports[0], "grpc_port": ports[1]}
    (folder / "config.json").write_text(json.dumps(settings))
    done = hub("export", "docker", "-c", folder / "config.json", "-o", folder / "image", home=folder / "home", timeout=600)
    assert done.returncode == 0, done.stderr
    assert "docker build" in done.stdout
    return folder / "image"


@pytest.fixture(scope="module")
def image(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    scratch = tmp_path_factory.mktemp("stages")
    return Build(exported, debian_root(scratch / "debian"), scratch).last


@pytest.fixture(scope="module")
def container(image: Stage, tmp_path_factory: pytest.TempPathFactory) -> Iterator["subprocess.Popen[bytes]"]:
    """A container of the image: its entry point, as its user."""
    log = tmp_path_factory.mktemp("log") / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            image.call([*image.entrypoint, *image.command]), stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while subprocess.run(image.call(image.health), capture_output=True, check=False).returncode:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(60)


def test_the_linter_has_nothing_to_say(exported: Path) -> None:
    done = subprocess.run([program("hadolint"), str(exported / "Dockerfile")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_an_export_of_the_same_configuration_is_the_same(exported: Path, tmp_path: Path) -> None:
    config = exported.parent / "config.json"
    assert hub("export", "docker", "-c", config, "-o", tmp_path / "again", home=exported.parent / "home", timeout=600).returncode == 0
    names = sorted(each.relative_to(exported) for each in exported.rglob("*") if each.is_file())
    assert names == sorted(each.relative_to(tmp_path / "again") for each in (tmp_path / "again").rglob("*") if each.is_file())
    assert [name for name in names if (exported / name).read_bytes() != (tmp_path / "again" / name).read_bytes()] == []


def test_the_packages_are_pinned_with_digests(exported: Path) -> None:
    lines = (exported / "requirements.txt").read_text().splitlines()
    pins = [line for line in lines if line[0].isalpha()]
    assert len(pins) > 20
    assert all("==" in each and each.endswith("\\") for each in pins)
    assert not [each for each in pins if each.startswith(("pytest", "mypy", "hubserve"))]


def server_answer(url: str) -> list[float]:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1.0, 2.0, 3.0, 4.0]}
    answer = requests.post(url + "/v2/models/scale/infer", json={"inputs": [tensor]}, timeout=30).json()
    return answer["outputs"][0]["data"]


def test_a_container_serves_over_the_network_as_a_user_without_rights(
    container: "subprocess.Popen[bytes]", image: Stage, ports: tuple[int, int], cat_photo: Path
) -> None:
    address = own_address()
    url = f"http://{address}:{ports[0]}"
    assert requests.get(url + "/health/ready", timeout=30).status_code == 200
    with cat_photo.open("rb") as photo:
        answer = requests.post(url + "/predict/clas_system", files={"images": photo}, timeout=60).json()
    assert answer["status"] == "000", answer
    assert requests.get(url + "/v2/models/scale/ready", timeout=30).status_code == 200
    assert server_answer(url) == [2.0, 4.0, 6.0, 8.0]
    with tritonclient.grpc.InferenceServerClient(f"{address}:{ports[1]}") as client:
        assert client.is_server_ready()
    status = Path(f"/proc/{container.pid}/status").read_text()  # each step to the server replaced the one before
    assert "Uid:\t10001\t10001\t10001\t10001" in status
    written = [each for each in (image.root / "srv/hubserve").rglob("*") if each.lstat().st_uid == 10001]
    assert {each.relative_to(image.root / "srv/hubserve").parts[:2] for each in written} <= {
        ("data",),
        ("home", "cache"),
        ("home", "conf"),
        ("home", "tmp"),
    }


def test_a_container_ends_by_its_stop_signal(container: "subprocess.Popen[bytes]") -> None:
    container.send_signal(signal.SIGTERM)
    assert container.wait(60) == 0
