"""Ports that tests give to their servers."""

import socket

import pytest

from tests import ports


@pytest.fixture
def ranges(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[int]]:
    """Worker -> every port that it may take."""
    found = {}
    for worker in ("", "gw0", "gw1", "gw20"):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
        candidates = ports.candidates()
        found[worker] = {next(candidates) for _ in range(ports.PER_WORKER)}
    return found


def test_no_two_workers_share_a_port_and_none_takes_those_of_outgoing_connections(ranges: dict[str, set[int]]) -> None:
    assert len(set().union(*ranges.values())) == len(ranges) * ports.PER_WORKER
    assert all(1024 < port < 32768 for each in ranges.values() for port in each)


def test_a_port_in_use_is_passed_over_and_each_is_another_one() -> None:
    first = ports.free_port()
    with socket.socket() as other:
        other.bind(("127.0.0.1", first + 1 if first % ports.PER_WORKER < ports.PER_WORKER - 1 else first - ports.PER_WORKER + 1))
        following = [ports.free_port() for _ in range(5)]
        assert other.getsockname()[1] not in following
    assert len({first, *following}) == 6
