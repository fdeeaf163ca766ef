"""Metrics that models of Triton's Python backend publish themselves, at /metrics of a real server."""

import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.behaviours.test_metrics import Samples, scrape, total
from tests.conftest import MODULES, Server, servers, wait_for


class Models:
    """A server of ``pb_metrics`` and of ``twin``, a copy of it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.client = triton.InferenceServerClient(f"127.0.0.1:{server.port}")

    def ask(self, what: str, model: str = "pb_metrics") -> int:
        """Ask a model; gives the process id of the instance that answered."""
        sent = triton.InferInput("WHAT", [1], "BYTES")
        sent.set_data_from_numpy(np.array([what], object))
        return int(triton.InferenceServerClient(f"127.0.0.1:{self.server.port}").infer(model, [sent]).as_numpy("PID")[0])

    def ask_both(self, what: str, times: int) -> set[int]:
        with ThreadPoolExecutor(8) as pool:
            return set(pool.map(lambda _: self.ask(what), range(times)))

    @property
    def samples(self) -> Samples:
        return scrape(self.server.url)


@pytest.fixture(scope="module")
def _server(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    folder = tmp_path_factory.mktemp("own_metrics")
    for name in ("pb_metrics", "twin"):
        shutil.copytree(MODULES / "triton" / "pb_metrics", folder / "store" / name)
    with servers(shared_home, folder) as start:
        yield Models(start({}, model_store=[str(folder / "store")], model_control="explicit"))


@pytest.fixture
def models(_server: Models) -> Iterator[Models]:
    _server.client.load_model("pb_metrics")
    yield _server
    for name in ("pb_metrics", "twin"):
        _server.client.unload_model(name)
    wait_for(lambda: not any(name.startswith("toy_") for name, _ in _server.samples))


def test_counters_and_histograms_are_summed_over_instances_and_read_as_they_are(models: Models) -> None:
    assert total(models.samples, "toy_done_total", what="nothing") == 0
    assert len(models.ask_both("abc", 20)) == 2
    samples = models.samples
    assert total(samples, "toy_done_total", what="abc") == 30
    assert total(samples, "toy_done_total") == 30
    assert total(samples, "toy_sizes_bucket", le="2.0") == 0
    assert total(samples, "toy_sizes_bucket", le="5.5") == total(samples, "toy_sizes_bucket", le="+Inf") == 20
    assert (total(samples, "toy_sizes_sum"), total(samples, "toy_sizes_count")) == (60, 20)
    for number in range(3):
        models.ask("one")
        assert total(models.samples, "toy_done_total", what="one") == 1.5 * (number + 1)


def test_names_and_types_are_those_that_the_model_gave(models: Models) -> None:
    models.ask('odd "label" \\ of\ntwo lines')
    text = requests.get(f"{models.server.url}/metrics", timeout=30).text
    assert "# HELP toy_done Requests that were answered\n# TYPE toy_done counter\n" in text
    assert "# TYPE toy_level gauge\n" in text
    assert "# TYPE toy_sizes histogram\n" in text
    assert 'toy_done{what="odd \\"label\\" \\\\ of two lines"} 1.5\n' in text


def test_gauges_show_what_was_set_last_or_the_sum_of_what_was_added(models: Models) -> None:
    assert total(models.samples, "toy_open") == 6
    for value in (4.0, 2.5, float("inf"), -1e300):
        models.ask(f"set {value}")
        assert total(models.samples, "toy_level", place="here") == value
    models.ask("set nan")
    assert total(models.samples, "toy_level") != total(models.samples, "toy_level")


def test_counts_outlive_instances_but_not_the_model(models: Models) -> None:
    assert len(models.ask_both("abc", 20)) == 2
    assert total(models.samples, "toy_done_total", what="abc") == 30
    before = set(models.server.instance_pids("pb_metrics"))
    with pytest.raises(InferenceServerException, match="exited"):
        models.ask("die")
    wait_for(lambda: len(after := models.server.instance_pids("pb_metrics")) == 2 and not before & set(after))
    samples = models.samples
    assert total(samples, "toy_done_total", what="abc") == 30
    assert total(samples, "toy_sizes_count") == 20
    assert total(samples, "toy_open") == 6
    models.ask("abc")
    assert total(models.samples, "toy_done_total", what="abc") == 31.5
    models.client.unload_model("pb_metrics")
    wait_for(lambda: not any(name.startswith("toy_") for name, _ in models.samples))


def test_series_of_two_models_with_one_name_are_merged(models: Models) -> None:
    models.client.load_model("twin")
    models.ask("abc")
    models.ask("abc", "twin")
    samples = models.samples
    assert total(samples, "toy_done_total", what="abc") == 3
    assert total(samples, "toy_open") == 12
    assert total(samples, "toy_sizes_count") == 2
    models.client.unload_model("pb_metrics")
    wait_for(lambda: total(models.samples, "toy_open") == 6)


def test_instances_that_do_not_answer_leave_the_page_with_their_last_values(models: Models) -> None:
    models.ask_both("abc", 20)
    assert total(models.samples, "toy_done_total", what="abc") == 30
    pids = models.server.instance_pids("pb_metrics")
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        for _ in range(2):
            assert total(models.samples, "toy_done_total", what="abc") == 30
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
    models.ask("abc")
    wait_for(lambda: total(models.samples, "toy_done_total", what="abc") == 31.5)


def test_a_model_with_too_many_series_does_not_break_the_page(models: Models) -> None:
    models.ask("many")
    series = [labels for name, labels in models.samples if name == "toy_done_total"]
    assert 900 < len(series) <= 1000
    wait_for(lambda: "further ones are not published" in models.server.log.read_text())
    models.ask("abc")
    assert total(models.samples, "nv_inference_request_success", model="pb_metrics") == 2
