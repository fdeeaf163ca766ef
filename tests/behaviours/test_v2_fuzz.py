"""Whatever is sent to the protocol's paths, the server answers it and goes on."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import Server, servers
from tests.examples import examples
from tests.v2 import exchange
from tests.v2_mutations import ALL_CASES, calm_modules, is_complete, mutated


@pytest.fixture(scope="module")
def server(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "modules").mkdir()
    with servers(shared_home, folder) as start:
        yield start(calm_modules(folder / "modules"), max_body_bytes=1 << 20, client_timeout_s=5, shared_memory=True)


@settings(max_examples=examples(600), deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(case=st.sampled_from(sorted(ALL_CASES)), random=st.randoms(use_true_random=False))
def test_a_mutated_request_is_answered_and_the_failure_is_never_the_servers_own(server: Server, case: str, random: Random) -> None:
    request = mutated(random, ALL_CASES[case])
    if not is_complete(request):
        return
    answer = exchange(server.port, request)
    assert answer.startswith(b"HTTP/1.1 "), request
    status = int(answer[9:12])
    assert 100 <= status < 500 or status in (501, 503, 504, 505), (request, answer)


def test_the_server_has_lost_no_process_by_it(server: Server) -> None:
    assert requests.get(server.url + "/v2/health/ready", timeout=10).status_code == 200
    assert sum(each["restarts"] for each in requests.get(server.url + "/status", timeout=10).json()["modules"]) == 0
    assert "unexpected" not in server.log.read_text()
