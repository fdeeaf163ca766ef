"""Every command of docs/production.md, in its order, on a Debian of its own with systemd, nginx and Prometheus.

Commands run as they stand there. What the page leaves to its reader is put in: the model's files, the request, the printed keys, and the
name ``ml.example.com``, which leads to the machine itself. Programs that download use the network of this machine.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from hubserve.export.packages import write_wheel
from tests.conftest import ROOT, wait_for
from tests.operations.containers import debian_root
from tests.operations.machine import Machine, install
from tests.operations.programs import program
from tests.triton_models import scale

pytestmark = pytest.mark.slow
PAGE = (ROOT / "docs" / "production.md").read_text("utf-8")
DOWNLOADS = re.compile(r"apt-get|pip install|install\.sh|hub export")
#: how downloads work here, and where pip finds the wheel of this hubserve
NETWORK = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_")) or name.endswith("_proxy")}
NETWORK["PIP_FIND_LINKS"] = "/opt/wheels"
#: what every server with Debian has, and the smallest root has not
USUAL = ["systemd", "systemd-sysv", "dbus", "iproute2"]
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

COLLECTOR = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with open(sys.argv[1], "ab") as file:
            file.write(len(body).to_bytes(4, "big") + body)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *_):
        pass
HTTPServer(("127.0.0.1", 4318), Handler).serve_forever()
"""

CLIENT = """
import json, os, sys, time
import requests
request = json.load(open("/srv/serving/request.json"))
session = requests.Session()
session.verify, session.headers["Authorization"] = sys.argv[2], "Bearer " + sys.argv[1]
while not os.path.exists("/run/stop-client"):
    answer = session.post("https://ml.example.com/v2/models/classifier/infer", json=request, timeout=60)
    print(answer.status_code, answer.json().get("outputs", [{}])[0].get("data"), flush=True)
    time.sleep(0.05)
"""

GRPC = """
import sys
import numpy as np
import tritonclient.grpc as triton
options = [("grpc.ssl_target_name_override", "ml.example.com"), ("grpc.default_authority", "ml.example.com")]
client = triton.InferenceServerClient("127.0.0.1:443", ssl=True, root_certificates=sys.argv[1], channel_args=options)
tensor = triton.InferInput("x", [1, 4], "FP32")
tensor.set_data_from_numpy(np.array([[1, 2, 3, 4]], np.float32))
print(client.is_server_ready())
for key in sys.argv[2:]:
    try:
        answer = client.infer("classifier", [tensor], headers={"authorization": "Bearer " + key})
        print(answer.as_numpy("y").tolist())
    except triton.InferenceServerException as error:
        print(error.status())
"""


class Step(NamedTuple):
    """A file or a command of the page.

    Attributes:
        section: its heading.
        path: of the file; "" for a command.
        text: the file's content, or the command.
        shown: what the page shows as the command's output; "" for nothing.
    """

    section: str
    path: str
    text: str
    shown: str = ""


def steps(page: str) -> Iterator[Step]:
    """Yield what the page has its reader do, in its order."""
    section = path = ""
    for heading, named, language, block in re.findall(
        r"^## ([^\n]+)$|`(/[\w./-]+)`:\n\n(?=```)|```(\w+)\n(.*?)```", page, re.MULTILINE | re.DOTALL
    ):
        section, path = heading or section, named or path
        if language == "console":
            for command, shown in re.findall(r"^# (.+)\n((?:(?!# ).+\n)*)", block, re.MULTILINE):
                yield Step(section, "", command, shown)
        elif block and path:
            yield Step(section, path, block)
            path = ""


class Reader:
    """Carries out the page's steps on a machine.

    Attributes:
        keys: API keys that were printed, by the names of their clients.
        outputs: of the commands.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.keys: dict[str, str] = {}
        self.outputs: dict[str, str] = {}
        self._left = list(steps(PAGE))

    def follow(self, section: str) -> None:
        """Carry out the next steps, which are those of a section."""
        assert self._left[0].section == section, "the page has another order"
        while self._left and self._left[0].section == section:
            step = self._left.pop(0)
            if step.path:
                target = self.machine.root / step.path.lstrip("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(step.text)
            else:
                self._run(step)

    def _run(self, step: Step) -> None:
        command = step.text
        for variable, name in (("APP_KEY", "app"), ("ADMIN_KEY", "operator")):
            command = command.replace(f"export {variable}=hsk_...", f"export {variable}={self.keys.get(name)}")
        if command.endswith("access-keys.json ID"):
            oldest = json.loads(self.machine.run("hub access list /etc/hubserve/secrets/access-keys.json --json"))[0]
            assert oldest["name"] == "app"
            command = command.replace(" ID", f" {oldest['id']}")
        online = bool(DOWNLOADS.search(command))
        output = self.machine.run(command, online=online, **(NETWORK if online else {}))
        self.outputs[step.text] = output
        assert not step.shown or output == step.shown, command
        created = re.search(r"--name (\w+)", command)
        if "access create" in command and created:
            self.keys[created[1]] = next(line for line in output.splitlines() if line.startswith("hsk_"))

    @property
    def is_done(self) -> bool:
        return not self._left


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A Debian with the page's model and request, and the wheel of this hubserve for pip."""
    program("systemd-nspawn")
    folder = tmp_path_factory.mktemp("machine")
    root = debian_root(folder / "root")
    install(root, USUAL)
    write_wheel(root / "opt" / "wheels")
    serving = root / "srv" / "serving"
    scale(serving / "classifier.onnx", 2.0)
    scale(serving / "classifier-2.onnx", 3.0)
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1.0, 2.0, 3.0, 4.0]}
    (serving / "request.json").write_text(json.dumps({"inputs": [tensor]}))
    (root / "etc" / "hosts").write_text("127.0.0.1 localhost ml.example.com\n")
    running = Machine(root, folder / "console.log")
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="module")
def reader(machine: Machine) -> Reader:
    return Reader(machine)


def infer(machine: Machine, key: str, *options: str) -> tuple[int, Any]:
    """Return the status and the data of the page's request."""
    words = f"-H 'Authorization: Bearer {key}' https://ml.example.com/v2/models/classifier/infer -d @/srv/serving/request.json"
    text = machine.run(f"curl -sS --cacert $CA -w '\\n%{{http_code}}' {' '.join(options)} {words}")
    body, _, status = text.rpartition("\n")
    document = json.loads(body)
    return int(status), document["outputs"][0]["data"] if "outputs" in document else document


def test_the_release_is_installed_and_runs_with_few_rights(reader: Reader, machine: Machine) -> None:
    reader.follow("Prepare a release")
    reader.follow("Install the release")
    properties = dict(line.split("=", 1) for line in machine.run("systemctl show hubserve").splitlines() if "=" in line)
    assert (properties["ActiveState"], properties["Type"], properties["User"]) == ("active", "notify", "hubserve")
    status = machine.run(f"cat /proc/{properties['MainPID']}/status")
    assert "NoNewPrivs:\t1" in status
    assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
    assert "classifier" in reader.outputs["hubserve list"]
    assert machine.run("stat -c '%U:%G %a' /etc/hubserve/secrets/access-keys.json").strip() == "root:hubserve 640"
    assert machine.run("stat -c '%U %a' /run/hubserve/admin.sock").strip() == "hubserve 600"
    for secret in reader.keys.values():
        assert secret not in machine.run("journalctl -u hubserve --no-pager; cat /srv/serving/keys.json; grep -r . release-1/*.* || true")


def test_clients_reach_the_service_by_nginx_with_keys_only(reader: Reader, machine: Machine) -> None:
    reader.follow("nginx")
    reader.follow("Try it")
    assert infer(machine, reader.keys["app"]) == (200, [2.0, 4.0, 6.0, 8.0])
    assert infer(machine, "hsk_aaaaaaaa_wrong")[0] == 401
    assert (
        machine.run("curl -sS -o /dev/null -w '%{http_code} %{redirect_url}' http://ml.example.com/v2") == "301 https://ml.example.com/v2"
    )
    certificate = machine.root / "etc/ssl/certs/ml.example.com.pem"
    command = ["nsenter", f"--net=/proc/{machine.leader}/ns/net", sys.executable, "-c", GRPC, str(certificate), reader.keys["app"], "wrong"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.splitlines() == ["True", "[[2.0, 4.0, 6.0, 8.0]]", "StatusCode.UNAUTHENTICATED"], done.stderr[-2000:]
    listening = re.findall(r"(\S+):(\d+)\s", machine.run("ss -Hltn | awk '{print $4\" \"}'"))
    assert {port for address, port in listening if address not in ("127.0.0.1", "[::1]")} <= {"80", "443", "9090", "9100"}


def test_metrics_reach_prometheus_with_the_alert_rules(reader: Reader, machine: Machine) -> None:
    reader.follow("Metrics, alerts and the dashboard")
    rules = json.loads(reader.outputs["curl -fsS http://127.0.0.1:9090/api/v1/rules"])
    named = {rule["name"] for group in rules["data"]["groups"] for rule in group["rules"]}
    table = set(re.findall(r"^\| `(Hubserve\w+)` \|", PAGE, re.MULTILINE))
    assert named == table

    def up() -> bool:
        query = "curl -fsSG http://127.0.0.1:9090/api/v1/query --data-urlencode 'query=nv_inference_request_success{model=\"classifier\"}'"
        found = json.loads(machine.run(query))["data"]["result"]
        return bool(found) and float(found[0]["value"][1]) >= 2

    wait_for(up, 60)
    assert "9090" not in re.findall(r"(?:0\.0\.0\.0|\*):(\d+)", machine.run("ss -ltn"))


def test_requests_are_logged_and_traced_under_one_id(reader: Reader, machine: Machine, tmp_path: Path) -> None:
    spans = tmp_path / "spans"
    command = ["nsenter", f"--net=/proc/{machine.leader}/ns/net", sys.executable, "-c", COLLECTOR, str(spans)]
    with subprocess.Popen(command) as collector:
        try:
            answer = machine.run(
                f'curl -fsS --cacert $CA -D - -o /dev/null -H "Authorization: Bearer $APP_KEY" -H "traceparent: {TRACEPARENT}" '
                "https://ml.example.com/v2/models/classifier/infer -d @request.json"
            )
            wait_for(lambda: spans.is_file() and spans.stat().st_size > 4, 60)
        finally:
            collector.terminate()
    body = spans.read_bytes()
    sent = ExportTraceServiceRequest.FromString(body[4 : 4 + int.from_bytes(body[:4], "big")])
    found = [span for resource in sent.resource_spans for scope in resource.scope_spans for span in scope.spans]
    assert found
    assert {span.trace_id.hex() for span in found} == {TRACEPARENT.split("-")[1]}
    request_id = re.search(r"(?i)^x-request-id: (\S+)", answer, re.MULTILINE)[1]  # type: ignore[index]
    time.sleep(1)  # lines are collected
    reader.follow("Logs")
    lines = [json.loads(line) for line in reader.outputs["tail -n 5 /var/log/hubserve/access.log"].splitlines()]
    (line,) = [each for each in lines if each["request_id"] == request_id]
    assert (line["module"], line["status"], line["client"]) == ("classifier", 200, "127.0.0.1")
    assert request_id in machine.run("tail -n 5 /var/log/nginx/hubserve.log")
    for secret in reader.keys.values():
        assert secret not in machine.run("cat /var/log/hubserve/* /var/log/nginx/*; journalctl --no-pager -u hubserve")


def test_a_backup_brings_the_service_back(reader: Reader, machine: Machine) -> None:
    reader.follow("Backup")
    assert machine.run("stat -c %a /root/hubserve-backup.tar.gz").strip() == "600"
    assert infer(machine, reader.keys["app"]) == (200, [2.0, 4.0, 6.0, 8.0])


def test_upgrades_lose_no_request_and_lead_back(reader: Reader, machine: Machine, tmp_path: Path) -> None:
    (machine.root / "srv/client.py").write_text(CLIENT)
    log = tmp_path / "client.log"
    words = ["/opt/hubserve-tools/bin/python", "/srv/client.py", reader.keys["app"], "/etc/ssl/certs/ml.example.com.pem"]
    client = machine.start(words, log)
    try:
        wait_for(lambda: "200" in log.read_text(), 60)
        before_restart = follow_until(reader, "systemctl restart hubserve", log)
    finally:
        (machine.root / "run/stop-client").touch()
        machine.run("touch /run/stop-client")
        client.wait(60)
    lines = before_restart.splitlines()
    assert {line.split()[0] for line in lines} == {"200"}, before_restart[-2000:]
    answers = [line.split(maxsplit=1)[1] for line in lines]
    assert answers[0] == answers[-1] == "[2.0, 4.0, 6.0, 8.0]"
    assert "[3.0, 6.0, 9.0, 12.0]" in answers, "the new version answered in between"
    assert infer(machine, reader.keys["app"]) == (200, [2.0, 4.0, 6.0, 8.0])
    assert machine.run("readlink -f /opt/hubserve/current").startswith("/opt/hubserve/")


def follow_until(reader: Reader, command: str, log: Path) -> str:
    """Carry out the section on upgrades; return what the client had written before a command."""
    written: list[str] = []
    run = reader.machine.run

    def noting(text: str, **options: Any) -> str:
        if text == command and not written:
            written.append(log.read_text())
        return run(text, **options)

    reader.machine.run = noting  # type: ignore[method-assign]
    try:
        reader.follow("Upgrades")
    finally:
        reader.machine.run = run  # type: ignore[method-assign]
    return written[0]


def test_keys_and_certificates_are_replaced_while_the_server_runs(reader: Reader, machine: Machine) -> None:
    before = reader.keys["app"]
    old = machine.run("openssl x509 -noout -fingerprint -in $CA")
    renew = next(step.text for step in steps(PAGE) if step.text.startswith("openssl req"))
    machine.run(renew)
    reader.follow("New keys and certificates")
    assert machine.run("openssl x509 -noout -fingerprint -in $CA") != old
    after = reader.keys["app"]
    assert after != before
    # nginx's new processes take over soon after the reload
    wait_for(
        lambda: "200" in machine.run("curl -s --cacert $CA -o /dev/null -w '%{http_code}' https://ml.example.com/health/ready || true"), 20
    )
    wait_for(lambda: infer(machine, after)[0] == 200, 10)
    wait_for(lambda: infer(machine, before)[0] == 401, 10)
    assert infer(machine, after) == (200, [2.0, 4.0, 6.0, 8.0]), "with the new certificate, which $CA names"


def test_the_service_comes_back_with_the_machine_and_exposes_little(reader: Reader, machine: Machine) -> None:
    assert reader.is_done, "every step of the page was carried out"
    assert machine.run("systemctl is-enabled hubserve nginx prometheus").split() == ["enabled"] * 3
    score = machine.run("systemd-analyze security --no-pager hubserve | tail -n 1")
    assert float(re.search(r"(\d\.\d)", score)[1]) < 3, score  # type: ignore[index]
    machine.stop()
    machine.boot()
    assert machine.run("systemctl is-active hubserve nginx prometheus").split() == ["active"] * 3
    assert infer(machine, reader.keys["app"]) == (200, [2.0, 4.0, 6.0, 8.0])
