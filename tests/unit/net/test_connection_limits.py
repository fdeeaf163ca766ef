"""Choice of the connection that is closed to make room for a new one."""

import pytest

from hubserve.errors import ConfigError
from hubserve.net.connection_limits import Connections, connections_for


class Transport:
    def __init__(self, host: str) -> None:
        self._host = host

    def get_extra_info(self, name: str) -> object:
        return (self._host, 1) if name == "peername" and self._host else None


class Client:
    """Connection that can be idle."""

    def __init__(self, idle_since: float = 0.0) -> None:
        self.idle_since = idle_since
        self.evicted = False

    def evict(self) -> None:
        self.evicted = True


def opened(table: Connections, host: str, *idle_since: float) -> list[Client]:
    clients = [Client(each) for each in idle_since]
    assert all(table.add(each, Transport(host)) for each in clients)
    return clients


def test_the_longest_idle_connection_is_closed_for_a_new_one() -> None:
    table = Connections(4, 4)
    clients = opened(table, "10.0.0.1", 3.0, 1.0, 0.0, 2.0)
    opened(table, "10.0.0.1", 9.0)
    assert [each.evicted for each in clients] == [False, True, False, False]
    opened(table, "10.0.0.1", 9.0)
    assert [each.evicted for each in clients] == [False, True, False, True]
    assert len(table) == 4


def test_the_address_with_the_most_connections_loses_one() -> None:
    table = Connections(5, 5)
    crowd, one = opened(table, "10.0.0.1", 5.0, 6.0, 7.0, 8.0), opened(table, "10.0.0.2", 1.0)
    opened(table, "10.0.0.3", 9.0)
    assert crowd[0].evicted
    assert not one[0].evicted


def test_connections_with_requests_in_progress_are_never_closed() -> None:
    table = Connections(2, 2)
    busy = opened(table, "10.0.0.1", 0.0, 0.0)
    assert not table.add(Client(), Transport("10.0.0.2"))
    assert not any(each.evicted for each in busy)
    assert len(table) == 2


def test_a_connection_that_became_busy_since_the_last_search_is_skipped() -> None:
    table = Connections(3, 3)
    clients = opened(table, "10.0.0.1", 1.0, 2.0, 3.0)
    opened(table, "10.0.0.1", 9.0)
    clients[1].idle_since = 0.0
    opened(table, "10.0.0.1", 9.0)
    assert [each.evicted for each in clients] == [True, False, True]


def test_an_address_without_idle_connections_does_not_protect_others() -> None:
    table = Connections(4, 2)
    opened(table, "10.0.0.1", 0.0, 0.0)
    idle = opened(table, "10.0.0.2", 1.0, 2.0)
    assert not table.add(Client(), Transport("10.0.0.1"))
    opened(table, "10.0.0.3", 0.0)
    assert idle[0].evicted


def test_an_address_that_opens_many_connections_closes_its_own() -> None:
    table = Connections(6, 6)
    one = opened(table, "10.0.0.1", 1.0, 2.0)
    opened(table, "10.0.0.2", 3.0, 4.0, 5.0, 6.0)
    opened(table, "10.0.0.2", *(float(each) for each in range(7, 100)))
    assert not any(each.evicted for each in one)
    assert len(table) == 6


def test_one_address_has_its_own_limit() -> None:
    table = Connections(10, 2)
    mine = opened(table, "10.0.0.1", 1.0, 2.0)
    opened(table, "10.0.0.1", 9.0)
    assert mine[0].evicted, "although there is room for others"
    opened(table, "10.0.0.2", 0.0, 0.0)
    assert not table.add(Client(), Transport("10.0.0.2"))


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8:1:2:3::1", "2001:db8:1:2:4::1", True),
        ("2001:db8:1:2:3::1", "2001:db8:1:3:3::1", False),
        ("::1", "::ffff:10.0.0.1", False),
        ("", "", True),
    ],
)
def test_an_address_is_one_of_ipv4_or_a_network_of_ipv6(one: str, other: str, is_same: bool) -> None:
    table = Connections(10, 1)
    opened(table, one, 0.0)
    assert table.add(Client(), Transport(other)) is not is_same


@pytest.mark.parametrize("address", ["10.0.0.1", "2001:db8:1:2:3::1", ""])
def test_the_limit_of_one_address_is_not_for_proxies(address: str) -> None:
    table = Connections(10, 1, has_many_clients=lambda each: each == address)
    opened(table, address, 0.0, 0.0, 0.0)


def test_closed_connections_no_longer_count() -> None:
    table = Connections(1, 1)
    (client,) = opened(table, "10.0.0.1", 0.0)
    table.discard(client)
    table.discard(client)
    opened(table, "10.0.0.1", 0.0)
    assert len(table) == 1


@pytest.mark.parametrize(
    ("descriptors", "most", "per_peer", "expected"),
    [(128, None, None, (64, 48)), (1 << 16, None, None, (1 << 14, 12_288)), (1024, 100, 7, (100, 7)), (2, None, None, (1, 1))],
)
def test_connections_leave_descriptors_for_everything_else(
    descriptors: int, most: int | None, per_peer: int | None, expected: tuple[int, int]
) -> None:
    table = connections_for(descriptors, most, per_peer)
    assert (table._most, table._most_per_peer) == expected
    assert table.backlog <= descriptors // 4


def test_more_connections_than_descriptors_are_refused() -> None:
    with pytest.raises(ConfigError, match="max_connections is 1000, but this process may have 1024 descriptors"):
        connections_for(1024, 1000, None)
