"""Which client a request comes from, by the headers of trusted proxies."""

import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import ConfigError
from hubserve.net.headers import header
from hubserve.net.proxies import Proxies
from hubserve.settings import parse_settings
from hubserve.telemetry.request_record import RequestRecord


def proxies(**settings: Any) -> Proxies:
    return Proxies(parse_settings({"modules_info": {"m": {}}, **settings}, "test"))


def scope_of(peer: str, path: str = "/predict/m", **headers: str) -> dict[str, Any]:
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    client = (peer, 4711) if peer else None
    return {"type": "http", "client": client, "scheme": "http", "path": path, "raw_path": path.encode(), "headers": sent}


def applied(of: Proxies, scope: dict[str, Any]) -> tuple[dict[str, Any], RequestRecord]:
    record = RequestRecord(0.0)
    record.peer = scope["client"][0] if scope["client"] else ""
    of.apply(scope, record)
    return scope, record


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1, 203.0.113.9", "203.0.113.9"),  # the first is the client's own invention
        ("10.0.0.1", "203.0.113.9, 10.0.0.2", "203.0.113.9"),  # two proxies
        ("10.0.0.1", "127.0.0.1", "127.0.0.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),  # only proxies: the farthest
        ("10.0.0.1", "203.0.113.9:51000", "203.0.113.9"),
        ("10.0.0.1", "[2001:db8::1]:51000", "2001:db8::1"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", "::ffff:203.0.113.9", "203.0.113.9"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.9, _hidden", "10.0.0.1"),
        ("10.0.0.1", ",,", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("203.0.113.7", "127.0.0.1", "203.0.113.7"),  # not a trusted proxy
        ("::ffff:10.0.0.1", "203.0.113.9", "203.0.113.9"),
        ("not an address", "203.0.113.9", "not an address"),
    ],
)
def test_the_client_is_the_nearest_address_that_is_not_a_trusted_proxy(peer: str, forwarded: str, client: str) -> None:
    of = proxies(trusted_proxies=["10.0.0.0/8"])
    assert of.client_of(peer, forwarded) == client
    assert applied(of, scope_of(peer, x_forwarded_for=forwarded))[1].peer == client


def test_repeated_headers_are_one_list() -> None:
    scope = scope_of("10.0.0.1")
    scope["headers"] = [(b"x-forwarded-for", b"127.0.0.1"), (b"x-forwarded-for", b"203.0.113.9")]
    assert applied(proxies(trusted_proxies=["10.0.0.1"]), scope)[0]["client"] == ("203.0.113.9", 0)


@given(st.text(max_size=60), st.integers(0, 2**32 - 1))
def test_a_client_cannot_choose_an_address_beside_a_proxy_that_appends_its_own(invented: str, number: int) -> None:
    own = str(ipaddress.IPv4Address(number))
    of = proxies(trusted_proxies=["::1"])
    assert of.client_of("::1", f"{invented}, {own}") == own


@pytest.mark.parametrize("peer", ["10.0.0.1", "203.0.113.7"])
def test_scheme_and_host_come_from_trusted_proxies_only(peer: str) -> None:
    headers = {"host": "inner:8866", "x_forwarded_proto": "https", "x_forwarded_host": "evil.example, ml.example.com"}
    scope, _ = applied(proxies(trusted_proxies=["10.0.0.1"]), scope_of(peer, **headers))
    seen = (scope["scheme"], header(scope, b"host"))
    assert seen == (("https", "ml.example.com") if peer == "10.0.0.1" else ("http", "inner:8866"))


@pytest.mark.parametrize("scheme", ["gopher", "https\r\n", ""])
def test_other_schemes_are_left_out(scheme: str) -> None:
    scope, _ = applied(proxies(trusted_proxies=["10.0.0.1"]), scope_of("10.0.0.1", x_forwarded_proto=scheme))
    assert scope["scheme"] in ("http", "https")
    assert scope["scheme"] == ("https" if scheme.strip() == "https" else "http")


def test_clients_of_a_unix_socket_have_no_address() -> None:
    scope, record = applied(proxies(trusted_proxies=["unix"]), scope_of("", x_forwarded_for="203.0.113.9"))
    assert (scope["client"], record.peer) == (("203.0.113.9", 0), "203.0.113.9")
    scope, record = applied(proxies(trusted_proxies=["127.0.0.1"]), scope_of("", x_forwarded_for="203.0.113.9"))
    assert (scope["client"], record.peer) == (None, "")


@pytest.mark.parametrize(
    ("path", "inner"),
    [
        ("/models/predict/m", "/predict/m"),
        ("/models/", "/"),
        ("/models", "/"),
        ("/predict/m", "/predict/m"),
        ("/modelsx/predict/m", "/modelsx/predict/m"),
        ("/models/models/x", "/models/x"),
    ],
)
@pytest.mark.parametrize("root_path", ["/models", "/models/"])
def test_a_root_path_may_be_there_or_not(path: str, inner: str, root_path: str) -> None:
    scope, _ = applied(proxies(root_path=root_path), scope_of("203.0.113.7", path))
    assert (scope["path"], scope["raw_path"], scope["root_path"]) == (inner, inner.encode(), "/models")


@pytest.mark.parametrize(
    ("peer", "prefix", "expected"),
    [
        ("10.0.0.1", "/a/b", "/a/b"),
        ("10.0.0.1", "/a/b/", "/a/b"),
        ("203.0.113.7", "/a", None),
        ("10.0.0.1", "//evil.example", None),
        ("10.0.0.1", '/a"><script>', None),
        ("10.0.0.1", "a", None),
        ("10.0.0.1", "/" + "a" * 300, None),
    ],
)
def test_a_forwarded_prefix_is_a_plain_path_of_a_trusted_proxy(peer: str, prefix: str, expected: str | None) -> None:
    scope, _ = applied(proxies(trusted_proxies=["10.0.0.1"]), scope_of(peer, x_forwarded_prefix=prefix))
    assert scope.get("root_path") == expected
    assert scope["path"] == "/predict/m"


def test_nothing_is_done_where_nothing_is_set() -> None:
    assert not proxies().are_set
    assert proxies(root_path="/x").are_set
    assert proxies(trusted_proxies=["unix"]).are_set


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"trusted_proxies": ["proxy.example.com"]}, "trusted_proxies has 'proxy.example.com'"),
        ({"trusted_proxies": ["10.0.0.1/8"]}, "trusted_proxies has '10.0.0.1/8'"),
        ({"root_path": "models"}, "root_path is 'models'"),
        ({"root_path": "/a//b"}, "root_path is '/a//b'"),
        ({"root_path": "/a b"}, "root_path is '/a b'"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(settings: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        proxies(**settings)
