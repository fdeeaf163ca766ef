"""The alert rules and the dashboard, with a real Prometheus that reads a real server."""

import contextlib
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import ROOT, Start, free_port, toy, wait_for
from tests.operations.programs import program

DATA = ROOT / "hubserve" / "export" / "data"
ALERTS = DATA / "prometheus-alerts.yml"


def test_promtool_accepts_the_rules_and_the_metrics(start: Start) -> None:
    done = subprocess.run([program("promtool"), "check", "rules", str(ALERTS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    server = start({"shout": toy("shout")})
    server.results("shout", text="hi")
    text = requests.get(f"{server.url}/metrics", timeout=30).text
    checked = subprocess.run([program("promtool"), "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    # its lint asks for the suffix _total and base units, which Triton's names do not have
    complaints = [line for line in checked.stderr.splitlines() if not line.startswith("nv_")]
    assert complaints == [], complaints


@contextlib.contextmanager
def prometheus(folder: Path, target: int) -> Any:
    """A real Prometheus that reads one server every second; yields a function that asks it."""
    port = free_port()
    rules = ALERTS.read_text().replace("> 3\n", "> 0\n")
    (folder / "rules.yml").write_text(rules)
    (folder / "prometheus.yml").write_text(
        json.dumps(
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(folder / "rules.yml")],
                "scrape_configs": [{"job_name": "hubserve", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}],
            }
        )
    )
    command = [program("prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stderr=log)

    def ask(path: str, **parameters: str) -> Any:
        with contextlib.suppress(requests.ConnectionError):
            answer = requests.get(f"http://127.0.0.1:{port}/api/v1/{path}", params=parameters, timeout=30)
            if answer.status_code == 503:  # it is starting
                return None
            assert answer.status_code == 200, answer.text
            return answer.json()["data"]
        return None

    try:
        yield ask
    finally:
        process.terminate()
        process.wait(30)


def test_every_panel_has_data_and_a_restart_fires_its_alert(start: Start, tmp_path: Path) -> None:
    server = start({"shout": toy("shout")})
    with prometheus(tmp_path, server.port) as ask:
        wait_for(lambda: (ask("query", query='up{job="hubserve"} == 1') or {}).get("result"), 60)
        until = time.monotonic() + 8
        while time.monotonic() < until:
            server.results("shout", text="hi")
        os.kill(server.instance_pids("shout")[0], signal.SIGKILL)
        dashboard = json.loads((DATA / "grafana-dashboard.json").read_text())
        without_data = []
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                query = target["expr"].replace("$__rate_interval", "30s").replace("$module", ".*")
                if not ask("query", query=query)["result"]:
                    without_data.append(query)
        assert [query for query in without_data if "hubserve_refused_total" not in query] == []

        def firing() -> set[str]:
            return {each["labels"]["alertname"] for each in ask("alerts")["alerts"] if each["state"] == "firing"}

        wait_for(lambda: "HubserveInstancesRestart" in firing(), 60)
        assert firing() == {"HubserveInstancesRestart"}


@pytest.mark.parametrize("file", sorted(DATA.iterdir()), ids=lambda path: path.name)
def test_names_are_those_of_the_page(file: Path) -> None:
    listed = set(re.findall(r"`((?:nv|hubserve)_\w+)`", (ROOT / "docs" / "metrics.md").read_text("utf-8")))
    used = {re.sub("_(bucket|sum|count)$", "", name) for name in re.findall(r"\b(?:nv|hubserve)_\w+", file.read_text("utf-8"))}
    assert used - listed - {"nv_inference_pending_request"} == set()
