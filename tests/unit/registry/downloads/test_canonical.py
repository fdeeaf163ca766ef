"""One canonical spelling for each location."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import ConfigError
from hubserve.registry.downloads.canonical import canonical_host, canonical_location, index_key, is_loopback
from hubserve.registry.indexes import search_order


@pytest.mark.parametrize(
    ("host", "canonical"),
    [
        ("Example.ORG.", "example.org"),
        ("B\u00fccher.example", "xn--bcher-kva.example"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("stra\u00dfe.example", "xn--strae-oqa.example"),
        ("10.1", "10.0.0.1"),
        ("0xa000001", "10.0.0.1"),
        ("012.0.0.1", "10.0.0.1"),
        ("167772161", "10.0.0.1"),
        ("::FFFF:10.0.0.1", "10.0.0.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("1.2.3.4.5", "1.2.3.4.5"),
        ("", ""),
        *((name, "localhost") for name in ("LOCALHOST", "a.localhost", "127.0.0.1", "127.1", "127.9.9.9", "0", "0.0.0.0", "::1", "::")),
        ("\uff11\uff12\uff17.0.0.1", "localhost"),
    ],
)
def test_a_host_has_one_spelling(host: str, canonical: str) -> None:
    assert canonical_host(host) == canonical


def test_names_of_this_machine_are_recognised_without_a_lookup() -> None:
    for host in ("localhost", "LocalHost", "127.1", "0x7f000001", "::1", "::ffff:127.0.0.1"):
        assert is_loopback(host), host
    for host in ("a.localhost", "localhost.example.org", "127.example.org", "10.0.0.1", "0.0.0.0", "::2", ""):
        assert not is_loopback(host), host


@pytest.mark.parametrize(
    "spelling",
    [
        "https://example.org/a/b",
        "HTTPS://EXAMPLE.org:443/a/b/",
        "https://ada:secret@example.org./a/./b?token=1#x",
        "https://example.org/x/../a//b",
        "https://example.org/%61/b",
        "https://example.org/a/x/%2e%2E/b/%2E",
        "https://example.org/../a/b",
    ],
)
def test_an_address_has_one_spelling(spelling: str) -> None:
    assert canonical_location(spelling) == "https://example.org/a/b"


def test_what_is_another_place_stays_another() -> None:
    places = [
        "https://a/b",
        "https://a/B",
        "https://a:8443/b",
        "https://a/b/c",
        "https://a/b%20c",
        "https://a",
        "https://[2001:db8::1]/b",
        "http://a/b",
    ]
    assert len({canonical_location(each) for each in places}) == len(places)
    assert index_key("http://a/b") == index_key("https://a/b"), "keys hold for both"
    assert index_key("http://a:443/b") != index_key("https://a/b")


def test_a_folder_is_its_real_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "index").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "index")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    spellings = ("~/index", "index/", "./index/../link", str(tmp_path / "link"))
    assert {canonical_location(each) for each in spellings} == {str((tmp_path / "index").resolve())}


@given(st.text("aA./%2eE:@", max_size=12), st.sampled_from(["example.org", "127.1", "LocalHost"]))
def test_the_one_spelling_is_its_own(path: str, host: str) -> None:
    once = canonical_location(f"https://{host}/{path}")
    assert canonical_location(once) == once


def test_an_index_is_configured_once_and_removed_under_any_spelling(home: Path) -> None:
    search_order.add(home, "https://Example.org:443/index/", check=False)
    with pytest.raises(ConfigError, match="already"):
        search_order.add(home, "https://example.org/x/../index", check=False)
    search_order.remove(home, "https://EXAMPLE.org/index")
    assert search_order.configured(home) == []
