"""Instances whose modules break the connection to the gateway: their requests are answered, and they are replaced."""

import asyncio
import os
import resource
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests

from hubserve.errors import HubError, InstanceDied
from hubserve.gateway.dataplane import DataPlane
from hubserve.types import InferRequest
from hubserve.wire import frames
from tests.behaviours import test_scheduling
from tests.behaviours.python_backend.planes import plan_of
from tests.conftest import MODULES, Server, Start, servers, toy, wait_for

TIMES = {"times": [], "took_s": 0.0, "calls_s": 0.0, "prepare_s": 0.0}


@pytest.fixture(scope="module")
def server(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers(shared_home, tmp_path_factory.mktemp("unruly")) as start:
        yield start({"unruly": {**toy("unruly"), "workers": 1}, "shout": toy("shout")})


def ask(server: Server, **arguments: Any) -> dict[str, Any]:
    answer: dict[str, Any] = server.predict("unruly", json=arguments).json()
    return answer


def check_replaced(server: Server, before: int) -> None:
    assert wait_for(lambda: ask(server)["results"]) != before
    assert server.results("shout", text="on") == "ON!"
    assert requests.get(server.url + "/health/ready", timeout=10).status_code == 200


@pytest.mark.parametrize(
    "broken",
    [
        {"what": "write", "text": "\xde\xad\xbe\xef" * 64},
        {"what": "write", "text": frames.HEAD.pack(b"HUB1", 100, 3 << 30).decode("latin-1")},
        {"what": "forge", "header": {"op": "results", "buffers": []}},
        {"what": "forge", "header": {"op": "results", "results": [{"json": 3}], **TIMES, "buffers": []}},
        {"what": "forge", "header": {"op": "results", "results": [{"json": 0}], **TIMES, "buffers": [[0, 1 << 20]]}},
    ],
)
def test_a_broken_frame_ends_its_instance_and_answers_its_request(server: Server, broken: dict[str, Any]) -> None:
    before = ask(server)["results"]
    memory = psutil.Process(server.process.pid).memory_info().rss
    answer = ask(server, **broken)
    assert answer["status"] == "101"
    assert "broke the protocol with the gateway" in answer["msg"]
    check_replaced(server, before)
    assert psutil.Process(server.process.pid).memory_info().rss - memory < 300e6


def test_memory_that_is_shared_cannot_be_cut_short(server: Server) -> None:
    pid = ask(server, what="echo", text="x" * 300_000)["results"]
    assert ask(server, what="truncate")["results"] == pid
    assert ask(server, what="echo", text="y" * 300_000)["results"] == pid


def test_an_instance_whose_socket_another_process_holds_is_replaced_when_it_dies(server: Server) -> None:
    before = ask(server)["results"]
    answer = ask(server, what="fork_and_die", seconds=90)
    assert "was killed by SIGKILL" in answer["msg"]
    check_replaced(server, before)


def test_an_instance_is_replaced_with_the_descriptors_that_are_kept_for_it(start: Start) -> None:
    server = start({"unruly": {**toy("unruly"), "workers": 1}})
    before = ask(server)["results"]
    used = psutil.Process(server.process.pid).num_fds()
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (used + 4, used + 4))
    crowd = [socket.create_connection(("127.0.0.1", server.port), timeout=5) for _ in range(30)]
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: "replaced an instance of 'unruly'" in server.log.read_text())
    for each in crowd:
        each.close()
    check_answers_again(server, before)


def test_a_server_without_any_descriptors_is_not_ready_and_says_why_until_it_has_some(start: Start) -> None:
    server = start({"unruly": {**toy("unruly"), "workers": 1}})
    before = ask(server)["results"]
    session = requests.Session()  # its connection is already open
    session.get(server.url + "/health/ready", timeout=10)
    limits = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))
    os.kill(before, signal.SIGKILL)

    def why() -> str:
        answer = session.get(server.url + "/health/ready", timeout=10)
        return answer.json()["not_ready"]["unruly"] if answer.status_code == 503 else ""

    wait_for(lambda: "Too many open files" in why())
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, limits)
    check_answers_again(server, before)


def test_a_replacement_that_is_killed_while_it_loads_is_replaced_and_answers_what_waits(start: Start, tmp_path: Path) -> None:
    server = start({"unruly": {**toy("unruly", load_s=2), "workers": 1}})
    before = ask(server)["results"]
    os.kill(before, signal.SIGKILL)
    (loading,) = wait_for(lambda: [each.pid for each in psutil.Process(server.process.pid).children() if each.pid != before])
    with ThreadPoolExecutor(4) as threads:
        answers = [threads.submit(ask, server) for _ in range(4)]
        time.sleep(0.1)
        os.kill(loading, signal.SIGKILL)
        told = {answer.result()["results"] for answer in answers}
    assert len(told) == 1
    assert not told & {before, loading, ""}


def check_answers_again(server: Server, before: int) -> None:
    def answered() -> int | None:
        try:
            return ask(server)["results"] or None
        except requests.RequestException:
            return None

    assert wait_for(answered) != before
    assert requests.get(server.url + "/health/ready", timeout=10).status_code == 200


# --- in this process ---


def metrics_frame(name: Any) -> bytes:
    series = [{"labels": {}, "value": 1.0}]
    families = [{"name": name, "description": "", "kind": "counter", "series": series}]
    return b"".join(frames.encode({"op": "metrics", "families": families}))


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    "written", [b"\xde\xad\xbe\xef" * 64, b"close", metrics_frame("nv_inference_count"), metrics_frame("a b"), metrics_frame(None)]
)
def test_a_second_socket_that_is_broken_or_closed_ends_its_instance_and_answers_its_request(written: bytes) -> None:
    async def scenario() -> None:
        plane = DataPlane([plan_of(MODULES / "triton" / "pb_unruly")])
        await plane.start()
        try:
            (module,) = plane
            assert not module.load_error
            before = module.pool.slots[0].instance
            with pytest.raises(InstanceDied):
                await asyncio.wait_for(answer_of(plane, written), 30)
            assert await asyncio.wait_for(answer_of(plane, b""), 30) == b"3"
            assert module.pool.slots[0].instance is not before
            assert module.ready
        finally:
            await plane.stop(0)

    asyncio.run(scenario())


@pytest.mark.usefixtures("home")
def test_a_fork_of_a_model_is_told_that_it_cannot_ask_other_models() -> None:
    async def scenario() -> None:
        plane = DataPlane([plan_of(MODULES / "triton" / "pb_unruly")])
        await plane.start()
        try:
            assert await asyncio.wait_for(answer_of(plane, b"fork"), 30) == b"3"
        finally:
            await plane.stop(0)

    asyncio.run(scenario())


async def answer_of(plane: DataPlane, written: bytes) -> bytes:
    request = InferRequest("pb_unruly", tensors={"WRITE": np.array([written], object)}, wants_json=False)
    found = b""
    async for response in plane.stream(request):
        if response.tensors:
            found = response.tensors["OUT"][0]
    return found


def test_requests_are_answered_and_the_module_goes_on_when_the_gateways_own_code_fails(home: Path) -> None:
    async def scenario(plane: DataPlane) -> None:
        module = plane.get("doubler")
        for failing in ("on_batch_done", "requeue", "add_instance", "remove_instance"):
            instance = module.pool.slots[0].instance
            assert instance is not None
            whole = getattr(module.batcher, failing)

            def fail(*arguments: Any, failing: str = failing, whole: Any = whole) -> None:
                setattr(module.batcher, failing, whole)
                raise RuntimeError(f"{failing} fails once")

            setattr(module.batcher, failing, fail)
            asked = [asyncio.create_task(plane.infer(test_scheduling.numbers(1.0))) for _ in range(3)]
            if failing != "on_batch_done":
                instance.kill()
            for outcome in await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 30):
                assert isinstance(outcome, HubError) or outcome.tensors["y"][0, 0] == 2.0
            answer = await asyncio.wait_for(plane.infer(test_scheduling.numbers(4.0)), 30)
            assert answer.tensors is not None
            assert answer.tensors["y"][0, 0] == 8.0
            assert module.ready

    test_scheduling.run(test_scheduling.plan_of("doubler"), scenario)
