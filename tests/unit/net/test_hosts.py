"""Host names of the server, and access to the admin surface."""

import ipaddress
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.net.hosts import Hosts, is_loopback
from hubserve.net.origin_policy import CROSS_ORIGIN
from hubserve.protocols.admin import AdminSurface, Forbidden
from hubserve.settings import ServerSettings


def hosts(is_mounted: bool = False, **settings: Any) -> Hosts:
    return Hosts(ServerSettings(modules_info={}, **settings), is_mounted=is_mounted)


@given(name=st.from_regex(r"[a-z0-9.-]{1,30}(:[0-9]{1,5})?", fullmatch=True))
def test_a_local_server_accepts_only_its_own_names_and_addresses(name: str) -> None:
    bare = name.partition(":")[0].removesuffix(".")
    own = bare in ("localhost", socket.gethostname().lower()) or bare.endswith(".localhost") or is_address(bare)
    assert hosts().accepts(name) is own


def is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    "name", ["evil.example", "localhost@evil.example", "localhost evil", "[evil.example]", "[::1", "::1]", "\xe9", ":80"]
)
def test_lookalikes_of_the_servers_name_are_refused(name: str) -> None:
    assert hosts().accepts(name) is (name == "[::1")


@pytest.mark.parametrize(
    ("settings", "accepts", "is_own"),
    [
        ({}, False, False),
        ({"host": "localhost"}, False, False),
        ({"host": "::1"}, False, False),
        ({"host": "127.0.0.9"}, False, False),
        ({"host": "0.0.0.0"}, True, False),
        ({"host": "::"}, True, False),
        ({"host": "192.168.1.7"}, True, False),
        ({"host": "0.0.0.0", "allowed_hosts": ["other.example.com"]}, False, False),
        ({"host": "0.0.0.0", "allowed_hosts": ["ML.example.com."]}, True, True),
        ({"allowed_hosts": ["*.example.com"]}, True, True),
        ({"allowed_hosts": ["*.ml.example.com"]}, False, False),
        ({"allowed_hosts": ["*"]}, True, False),
        ({"is_mounted": True}, True, False),
        ({"is_mounted": True, "host": "ml.example.com"}, True, False),
        ({"is_mounted": True, "allowed_hosts": ["ml.example.com"]}, True, True),
        ({"is_mounted": True, "allowed_hosts": ["other.example.com"]}, False, False),
    ],
)
def test_a_domain_name_is_accepted_by_an_open_server_or_by_its_settings(settings: dict[str, Any], accepts: bool, is_own: bool) -> None:
    found = hosts(**settings)
    assert (found.accepts("ml.example.com:8866"), found.is_own("ml.example.com:8866")) == (accepts, is_own)


@pytest.mark.parametrize(
    ("address", "is_local"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("localhost", True),
        ("::ffff:10.0.0.1", False),
        ("10.0.0.1", False),
        ("0.0.0.0", False),
        ("", False),
        ("example.com", False),
    ],
)
def test_an_address_is_of_this_machine_only_if_it_is_a_loopback_address(address: str, is_local: bool) -> None:
    assert is_loopback(address) is is_local


def refused(admin: str, **more: Any) -> bool:
    settings = ServerSettings(modules_info={}, admin=admin)  # type: ignore[arg-type]  # one of the literals
    surface = AdminSurface(settings, Hosts(settings))
    scope = {"client": ("127.0.0.1", 5), "headers": [(b"host", b"localhost")], **more}
    try:
        surface.check(scope)
        surface.check_call(scope["client"][0] if scope["client"] else "", {name.decode(): "" for name, _ in scope["headers"]})
    except Forbidden:
        return True
    return False


CLIENTS: dict[str, tuple[dict[str, Any], bool]] = {
    "direct": ({}, False),
    "IPv6": ({"client": ("::1", 5)}, False),
    "elsewhere": ({"client": ("10.0.0.1", 5)}, True),
    "unknown": ({"client": None}, True),
    "a proxy": ({"headers": [(b"x-forwarded-proto", b"https")]}, True),
    "a proxy's empty header": ({"headers": [(b"forwarded", b"")]}, True),
    "a page": ({CROSS_ORIGIN: True}, True),
    "another name": ({"headers": [(b"host", b"evil.example")]}, True),
}


@pytest.mark.parametrize("client", CLIENTS)
def test_the_admin_surface_is_for_direct_local_clients_none_or_all(client: str) -> None:
    more, elsewhere = CLIENTS[client]
    assert (refused("local", **more), refused("off", **more), refused("any", **more)) == (elsewhere, True, False)
