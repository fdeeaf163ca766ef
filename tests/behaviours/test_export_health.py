"""The health check of an exported image against a real server, as it is encrypted or not."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hubserve.export import get_target
from hubserve.export.kubernetes import probes
from hubserve.export.plan import ExportPlan, Options, make_plan
from tests.behaviours.certificates import Authority
from tests.conftest import Start, toy, wait_for

Check = Callable[..., "subprocess.CompletedProcess[str]"]
#: settings by what clients need
ENCRYPTIONS = {
    "plain": {},
    "TLS": {"tls_cert": "server.pem", "tls_key": "server.key"},
    "mutual TLS": {"tls_cert": "server.pem", "tls_key": "server.key", "tls_client_ca": "ca.pem"},
}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    authority = Authority(tmp_path / "authority")
    authority.write(tmp_path, "server")
    authority.file.rename(tmp_path / "ca.pem")
    return tmp_path


def plan_of(config: Path) -> ExportPlan:
    target = get_target("docker")
    return make_plan(config, target.places, target.host, Options(), lambda _: None)


def check_of(plan: ExportPlan, home: Path, folder: Path) -> Check:
    """The health check, with this test's home in place of that of the container."""
    script = folder / "healthcheck.py"
    script.write_text(get_target("docker").render(plan).texts["healthcheck.py"].replace(plan.places.home, str(home)))

    def check(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([sys.executable, "-S", str(script), *arguments], capture_output=True, text=True, check=False, timeout=60)

    return check


@pytest.mark.parametrize("encryption", ENCRYPTIONS)
def test_a_container_is_healthy_while_its_server_is_ready(start: Start, files: Path, home: Path, encryption: str) -> None:
    settings: dict[str, Any] = ENCRYPTIONS[encryption]
    server = start({"shout": toy("shout")}, wait=False, **settings)
    check = check_of(plan_of(files / f"config-{server.port}.json"), home, files)
    wait_for(lambda: check().returncode == 0)
    assert check("live").returncode == 0
    assert server.stop() == 0
    done = check()
    assert (done.returncode, done.stderr[:11]) == (1, "not ready: ")
    assert check("live").returncode == 1


def test_a_container_lives_while_a_module_is_not_ready(start: Start, files: Path, home: Path) -> None:
    modules = {"shout": toy("shout"), "faulty": toy("faulty", at_start="sleep")}
    server = start(modules, wait=False, **ENCRYPTIONS["mutual TLS"])
    check = check_of(plan_of(files / f"config-{server.port}.json"), home, files)
    wait_for(lambda: check("live").returncode == 0)
    wait_for(lambda: check().stderr == "not ready: faulty\n")


def test_probes_of_kubernetes_are_the_same_check_where_clients_need_certificates(files: Path) -> None:
    config = files / "config.json"
    config.write_text(json.dumps({"modules_info": {"shout": toy("shout")}, **ENCRYPTIONS["mutual TLS"]}))
    plan = plan_of(config)
    copied = re.findall(r"^COPY healthcheck.py (\S+)$", get_target("docker").render(plan).texts["Dockerfile"], re.MULTILINE)
    found = probes(plan)
    assert found["readinessProbe"]["exec"]["command"][1:] == found["startupProbe"]["exec"]["command"][1:] == copied
    assert found["livenessProbe"]["exec"]["command"][1:] == [*copied, "live"]
    assert any("Prometheus needs a client's certificate" in each for each in plan.notes)
