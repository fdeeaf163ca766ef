"""``hub bench`` against real servers."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import MODULES, ROOT, Server, Start, free_port, hub, hub_here, servers, toy, wait_for

SHORT = ("--seconds", "1", "--rounds", "1")
HELLO = ("--data", '{"text": "hello"}')


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A server of three toys."""
    folder = tmp_path_factory.mktemp("bench")
    with servers(folder / "home", folder) as start:
        yield start({"doubler": toy("doubler"), "shout": toy("shout"), "faulty": toy("faulty")})


def bench(server: Server, *words: object) -> dict[str, Any]:
    done = hub("bench", *words, "-p", server.port, *SHORT, "--json", home=server.home)
    assert done.returncode == 0, done.stdout + done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_a_closed_loop_measures_every_batch_size_at_every_number_of_connections(served: Server) -> None:
    before = served.status("doubler")["requests"]
    document = bench(served, "doubler", "--connections", "1,2", "--batch_sizes", "1,4")
    assert [(each["batch_size"], each["connections"]) for each in document["steps"]] == [(1, 1), (1, 2), (4, 1), (4, 2)]
    for step in document["steps"]:
        assert step["requests_per_s"] > 0
        assert step["items_per_s"] == pytest.approx(step["requests_per_s"] * step["batch_size"])
        latency = step["latency_ms"]
        assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["max"]
        assert step["errors"] == []
        assert step["cpu_s_per_1000_requests"] > 0
        assert step["resident_mb"] > 10
    assert document["raw"] == []
    assert "has no engine" in document["raw_left_out"]
    counted = sum(each["requests_per_s"] * document["settings"]["seconds"] for each in document["steps"])
    assert served.status("doubler")["requests"] - before >= counted * 0.95
    assert served.status("doubler")["failures"] == 0


@pytest.mark.parametrize("payload", ["raw", "image", "base64"])
def test_every_payload_is_answered(served: Server, payload: str) -> None:
    document = bench(served, "doubler", "--payload", payload, "--batch_sizes", "2", "--connections", "2")
    assert document["payloads"][0]["kind"] == payload
    assert document["steps"][0]["requests_per_s"] > 0
    assert document["steps"][0]["errors"] == []


def test_an_open_loop_is_a_table(served: Server) -> None:
    done = hub("bench", "shout", *HELLO, "--rate", "50,100", "-p", served.port, *SHORT, home=served.home)
    assert done.returncode == 0, done.stderr
    assert "open loop" in done.stdout
    heading = next(line for line in done.stdout.splitlines() if "rate/s" in line)
    assert heading.split() == ["rate/s", "req/s", "p50", "p90", "p99", "max", "cpu", "s", "MB"]
    assert {"50", "100"} <= {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    assert "2/2 batch 1, 100 requests/s" in done.stderr


def test_a_server_that_runs_is_found_by_the_modules_name(served: Server) -> None:
    before = served.status("shout")["requests"]
    done = hub("bench", "shout", *HELLO, "--connections", "1", *SHORT, home=served.home)
    assert done.returncode == 0, done.stderr
    assert f":{served.port}/predict/shout" in done.stdout
    assert served.status("shout")["requests"] > before


def test_without_a_server_one_is_started_and_stopped_afterwards(home: Path) -> None:
    done = hub("bench", MODULES / "shout", *HELLO, "--connections", "2", "-w", "2", *SHORT, "--json", home=home)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["instances"] == 2
    assert document["steps"][0]["requests_per_s"] > 0
    assert [*(home / "conf").glob("serving_*.json")] == []
    port = document["address"].partition("127.0.0.1:")[2].partition("/")[0]
    assert not [each for each in psutil.net_connections("tcp") if each.status == "LISTEN" and each.laddr.port == int(port)]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["nosuch"], "module 'nosuch' is not served at http://127.0.0.1:.*; served are doubler, shout, faulty"),
        (["shout==9.9", *HELLO], "version 9.9 is not served"),
        (["shout", "--payload", "raw"], "does not take the payload raw .* it takes json"),
        (["shout"], "give --data"),
        (["shout", *HELLO, "--batch_sizes", "2"], "--batch_sizes is for arrays and pictures"),
        (["shout", "--data", '{"nope": 1}'], "does not answer .* the argument 'nope' is not known.* Nothing was measured"),
        (["faulty", "--data", '{"how": "raise", "text": "a broken part"}'], "status 101: a broken part. Nothing was measured"),
        (["shout", *HELLO, "-w", "2"], "-w is for a server that is started"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_the_reason(served: Server, words: list[str], text: str) -> None:
    done = hub("bench", *words, "-p", served.port, home=served.home)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.search(text, done.stderr), done.stderr


def test_a_missing_server_and_a_missing_module_are_reported(home: Path) -> None:
    port = free_port()
    unreachable = hub("bench", "shout", "-p", port, home=home)
    assert unreachable.returncode == 1
    assert f"no server answers at http://127.0.0.1:{port}" in unreachable.stderr
    missing = hub("bench", "shout", home=home)
    assert missing.returncode == 1
    assert "no module 'shout' is installed" in missing.stderr
    broken = hub("bench", home / "none", home=home)
    assert broken.returncode == 1
    assert "there is no folder" in broken.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["--connections", "0"],
        ["--connections", "1,x"],
        ["--rate", "0"],
        ["--rate", "-5"],
        ["--rate", "nan"],
        ["--seconds", "0"],
        ["--rounds", "0"],
        ["--batch_sizes", "0"],
        ["--rate", "1", "--connections", "1"],
        ["--payload", "xml"],
    ],
)
def test_a_value_that_makes_no_sense_exits_2(home: Path, words: list[str]) -> None:
    done = hub_here("bench", "shout", *words, home=home)
    assert done.returncode == 2
    assert words[0] in done.stderr or words[-2] in done.stderr
    assert done.stderr.count("\n") == 1


def test_errors_are_counted_by_status_with_their_text(start: Start) -> None:
    server = start({"faulty": {**toy("faulty", delay_s=0.05), "max_queue_size": 1}})
    document = bench(server, "faulty", "--data", "{}", "--connections", "8")
    (error,) = document["steps"][0]["errors"]
    assert error["status"] == "HTTP 429, status 101"
    assert error["count"] > 0
    assert "faulty" in error["text"]
    assert document["steps"][0]["requests_per_s"] > 0


def test_ctrl_c_shows_what_was_measured_and_stops_the_server(home: Path) -> None:
    words = ["bench", str(MODULES / "shout"), *HELLO, "--connections", "1", "--seconds", "1", "--rounds", "100", "--json"]
    environ = {**os.environ, "HUB_HOME": str(home)}
    command = [sys.executable, "-m", "hubserve", *words]
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        while not process.stderr.readline().startswith("3/100"):
            assert process.poll() is None
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        out, rest = process.communicate(timeout=60)
    assert process.returncode == 130
    document = json.loads(out)
    assert document["interrupted"] is True
    begun = max([3, *(int(line.partition("/")[0]) for line in rest.splitlines() if re.match(r"\d+/100", line))])
    assert len(document["steps"][0]["rounds"]) in (begun - 1, begun), "those that were complete"
    assert len(children) == 2
    wait_for(lambda: not any(each.is_running() for each in children))


def test_the_engine_alone_is_measured_beside_the_server(start: Start, model_dir: Path) -> None:
    init_args = {"directory": str(ROOT / "hubmodules" / "clas"), "engine": "paddle", "inference_model_dir": str(model_dir)}
    server = start({"clas_system": {"init_args": init_args}})
    document = bench(server, "clas_system", "--payload", "image", "--connections", "2", "--batch_sizes", "1,2")
    assert document["raw_left_out"] == ""
    assert [each["batch_size"] for each in document["raw"]] == [1, 2]
    for step, raw in zip(document["steps"], document["raw"], strict=True):
        assert raw["items_per_s"] > 0
        assert step["share_of_raw"] == pytest.approx(step["items_per_s"] / raw["items_per_s"])
    without = bench(server, "clas_system", "--connections", "1", "--no-raw")
    assert without["raw"] == []
    assert without["raw_left_out"] == ""
