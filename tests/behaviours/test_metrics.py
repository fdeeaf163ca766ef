"""/metrics of a real server under requests of every protocol."""

import gzip
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import tritonclient.grpc
import tritonclient.http
from prometheus_client.parser import text_string_to_metric_families
from tritonclient.utils import InferenceServerException

from hubserve.settings import parse_settings
from tests.conftest import ROOT, Server, free_port, servers, toy, wait_for
from tests.triton_models import write_scale

PAGE = ROOT / "docs" / "metrics.md"

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture(scope="module")
def server(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("metrics")
    write_scale(folder / "models", "double")
    with servers(shared_home, folder) as start:
        grpc = free_port()
        started = start(
            {"shout": toy("shout"), "faulty": toy("faulty")}, grpc_port=grpc, model_store=[str(folder / "models")], latency_summaries=True
        )
        started.grpc_port = grpc  # type: ignore[attr-defined]
        yield started


def scrape(url: str) -> Samples:
    answer = requests.get(f"{url}/metrics", timeout=30)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found: Samples = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            # the parser gives every counter OpenMetrics' suffix, which Triton's do not have in the text
            name = sample.name.removesuffix("_total") if sample.name.startswith("nv_") else sample.name
            key = (name, frozenset(sample.labels.items()))
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def total(samples: Samples, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    return sum(value for (each, its), value in samples.items() if each == name and set(labels.items()) <= its)


def scale_input(module: Any) -> list[Any]:
    tensor = module.InferInput("x", [1, 4], "FP32")
    tensor.set_data_from_numpy(np.ones((1, 4), np.float32))
    return [tensor]


def test_requests_of_every_protocol_are_counted(server: Server) -> None:
    before = scrape(server.url)
    for _ in range(3):
        server.results("shout", text="hi")
    http = tritonclient.http.InferenceServerClient(f"127.0.0.1:{server.port}")
    grpc = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}")  # type: ignore[attr-defined]
    for _ in range(4):
        http.infer("double", scale_input(tritonclient.http))
    for _ in range(5):
        grpc.infer("double", scale_input(tritonclient.grpc))
    grpc.close()
    after = scrape(server.url)

    def more(name: str, **labels: str) -> float:
        return total(after, name, **labels) - total(before, name, **labels)

    assert more("hubserve_requests_total", module="shout", protocol="paddlehub", status="200", error="") == 3
    assert more("hubserve_requests_total", module="double", protocol="v2", status="200") == 4
    assert more("hubserve_requests_total", module="double", protocol="grpc", status="OK") == 5
    assert more("hubserve_request_duration_seconds_count", module="double") == 9
    assert more("nv_inference_request_success", model="double", version="1") == 9
    assert more("nv_inference_count", model="double") == 9
    assert more("nv_inference_request_duration_us", model="double") > more("nv_inference_compute_infer_duration_us", model="double") > 0
    assert more("hubserve_batch_size_sum", module="double") == 9
    assert more("hubserve_batch_size_count", module="double") == more("nv_inference_exec_count", model="double") > 0
    assert more("hubserve_queue_seconds_count", module="double") == 9
    assert more("hubserve_received_bytes_total", module="double", protocol="grpc") > 5 * 16


def test_buckets_are_cumulative_and_end_with_all(server: Server) -> None:
    server.results("shout", text="hi")
    samples = scrape(server.url)
    labels = {"module": "shout", "protocol": "paddlehub"}
    buckets = sorted(
        (float(dict(its)["le"]), value)
        for (name, its), value in samples.items()
        if name == "hubserve_request_duration_seconds_bucket" and set(labels.items()) <= its
    )
    counts = [value for _, value in buckets]
    assert counts == sorted(counts)
    assert buckets[-1] == (float("inf"), total(samples, "hubserve_request_duration_seconds_count", **labels))


def test_failures_have_their_reason(server: Server) -> None:
    before = scrape(server.url)
    assert server.predict("faulty", json={"how": "raise"}).json()["status"] != "000"
    assert server.predict("nothing", json={}).json()["status"] == "111"
    requests.post(f"{server.url}/v2/models/double/infer", json={"inputs": []}, timeout=30)
    after = scrape(server.url)

    def more(name: str, **labels: str) -> float:
        return total(after, name, **labels) - total(before, name, **labels)

    assert more("hubserve_requests_total", module="", protocol="paddlehub", error="module_not_found") == 1
    assert more("hubserve_requests_total", module="double", protocol="v2", status="400", error="invalid_input") == 1
    assert more("hubserve_requests_total", module="faulty", protocol="paddlehub", error="") == 0
    assert more("nv_inference_request_failure", model="faulty", reason="BACKEND") == 1


def test_names_that_clients_invent_make_no_series(server: Server) -> None:
    server.predict("nothing-0", json={})
    before = set(scrape(server.url))
    session = requests.Session()
    for index in range(300):
        session.post(f"{server.url}/predict/nothing-{index}", json={}, timeout=30)
        session.get(f"{server.url}/v2/models/nothing-{index}", timeout=30)
        session.get(f"{server.url}/nothing-{index}", timeout=30)
    grpc = tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.grpc_port}")  # type: ignore[attr-defined]
    for index in range(20):
        with pytest.raises(InferenceServerException):
            grpc.infer(f"nothing-{index}", scale_input(tritonclient.grpc))
    grpc.close()
    new = set(scrape(server.url)) - before
    assert len(new) < 100, new
    assert not [key for key in new if "nothing" in str(key)]


def test_an_instance_that_dies_counts_with_its_cause(server: Server) -> None:
    before = total(scrape(server.url), "hubserve_instance_restarts_total", module="shout", cause="crash")
    pids = server.instance_pids("shout")
    os.kill(pids[0], signal.SIGKILL)
    wait_for(lambda: total(scrape(server.url), "hubserve_instance_restarts_total", module="shout", cause="crash") == before + 1)
    wait_for(lambda: total(scrape(server.url), "hubserve_instances", module="shout", state="running") == len(pids))
    samples = scrape(server.url)
    assert total(samples, "hubserve_module_ready", module="shout") == 1
    assert total(samples, "hubserve_instance_memory_bytes", module="shout") > 10 << 20


def test_requests_that_are_refused_before_they_are_read_are_counted(server: Server) -> None:
    before = total(scrape(server.url), "hubserve_refused_total", reason="http_400")
    with socket.create_connection(("127.0.0.1", server.port), 10) as client:
        client.sendall(b"nonsense\r\n\r\n")
        assert b" 400 " in client.recv(1000) or b" 501 " in client.recv(1000)
    after = scrape(server.url)
    assert total(after, "hubserve_refused_total") > before
    assert total(after, "hubserve_connections") >= 1


def test_the_text_may_be_compressed_and_other_methods_are_refused(server: Server) -> None:
    raw = requests.get(f"{server.url}/metrics", headers={"Accept-Encoding": "gzip"}, timeout=30, stream=True)
    assert raw.headers["Content-Encoding"] == "gzip"
    assert b"nv_inference_count" in gzip.decompress(raw.raw.read())
    assert requests.post(f"{server.url}/metrics", timeout=30).status_code == 405
    assert requests.head(f"{server.url}/metrics", timeout=30).text == ""


def test_tritons_counters_have_tritons_names_and_types(server: Server) -> None:
    text = requests.get(f"{server.url}/metrics", timeout=30).text
    for name in ("nv_inference_request_success", "nv_inference_request_failure", "nv_inference_exec_count", "nv_cache_num_hits_per_model"):
        assert f"# TYPE {name} counter\n" in text
    assert "# TYPE nv_inference_pending_request_count gauge\n" in text
    assert "# TYPE hubserve_requests_total counter\n" in text


def test_summaries_have_the_quantiles_of_the_requests_that_are_counted(server: Server) -> None:
    for _ in range(20):
        server.results("shout", text="hi")
    samples = scrape(server.url)
    for what in ("request", "queue", "compute_infer"):
        name, labels = f"nv_inference_{what}_summary_us", {"model": "shout", "version": "1.0.0"}
        quantiles = [total(samples, name, quantile=each, **labels) for each in ("0.5", "0.9", "0.95", "0.99", "0.999")]
        assert quantiles == sorted(quantiles)
        assert quantiles[0] > 0
        count, summed = total(samples, f"{name}_count", **labels), total(samples, f"{name}_sum", **labels)
        assert count == total(samples, "nv_inference_request_success", model="shout")
        assert summed == pytest.approx(total(samples, f"nv_inference_{what}_duration_us", model="shout"))
        assert quantiles[0] <= summed <= quantiles[-1] * count


def test_the_machine_has_processors_and_memory(server: Server) -> None:
    samples = scrape(server.url)
    assert 0 < total(samples, "nv_cpu_memory_used_bytes") < total(samples, "nv_cpu_memory_total_bytes")
    wait_for(lambda: 0 < total(scrape(server.url), "nv_cpu_utilization") <= 1)


def test_the_page_lists_every_metric(server: Server) -> None:
    server.results("shout", text="hi")
    listed = set(re.findall(r"`((?:nv|hubserve)_\w+)`", PAGE.read_text("utf-8")))
    text = requests.get(f"{server.url}/metrics", timeout=30).text
    served = {name for name in re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE) if name.startswith(("nv_", "hubserve_"))}
    assert served <= listed, f"not on the page: {served - listed}"
    unserved = {name for name in listed - served if not name.startswith(("nv_gpu_", "nv_energy_"))}  # this machine may have no GPU
    assert not unserved


def test_metrics_may_have_a_port_of_their_own_or_none(shared_home: Path, tmp_path: Path) -> None:
    with servers(shared_home, tmp_path) as start:
        port = free_port()
        own = start({"shout": toy("shout")}, metrics_port=port)
        assert requests.get(f"{own.url}/metrics", timeout=30).status_code == 404
        own.results("shout", text="hi")
        assert total(scrape(f"http://127.0.0.1:{port}"), "hubserve_requests_total", module="shout") == 1
        assert requests.get(f"http://127.0.0.1:{port}/predict/shout", timeout=30).status_code == 404
        assert own.stop() == 0
        none = start({"shout": toy("shout")}, metrics=False)
        assert requests.get(f"{none.url}/metrics", timeout=30).status_code == 404


def test_metrics_are_on_by_default() -> None:
    settings = parse_settings({"modules_info": {"m": {}}}, "test")
    assert settings.metrics
    assert settings.metrics_port is None
