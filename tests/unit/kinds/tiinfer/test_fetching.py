"""The addresses that scripts may fetch from."""

import http.server
import threading
import urllib.error
from collections.abc import Iterator

import pytest

from hubserve.kinds.tiinfer import fetching
from hubserve.kinds.tiinfer.fetching import Rules, make_opener

PUBLIC = "93.184.216.34"
INNER = ["127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "::1", "fe80::1%eth0", "fd00::1"]
HIDDEN = ["::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::"]


def test_nothing_is_allowed_without_rules() -> None:
    rules = Rules([])
    assert not rules.may_look_up("example.com")
    assert not rules.allows("example.com", PUBLIC)


@pytest.mark.parametrize("rule", ["pictures.example.com", "*.example.com", "*", "Pictures.Example.com."])
def test_a_name_leads_to_public_addresses_only(rule: str) -> None:
    rules = Rules([rule])
    assert rules.allows("pictures.example.com", PUBLIC)
    assert rules.allows("PICTURES.example.com.", "2606:2800:220:1:248:1893:25c8:1946")
    assert not any(rules.allows("pictures.example.com", each) for each in INNER + HIDDEN)


def test_a_name_allows_no_other() -> None:
    assert not Rules(["*.example.com"]).allows("example.com", PUBLIC)
    assert not Rules(["*.example.com"]).allows("pictures.example.com.evil.org", PUBLIC)
    assert not Rules(["example.com"]).allows("pictures.example.com", PUBLIC)


def test_networks_allow_their_addresses_by_any_name() -> None:
    rules = Rules(["10.1.0.0/16", "192.168.7.7", "fd00::/8"])
    assert rules.may_look_up("inner")
    assert rules.allows("inner", "10.1.2.3")
    assert rules.allows("inner", "::ffff:10.1.2.3")
    assert rules.allows("192.168.7.7", "192.168.7.7")
    assert rules.allows("inner", "fd00::1")
    assert not rules.allows("inner", "10.2.0.1")
    assert not rules.allows("inner", "192.168.7.8")
    assert not rules.allows("example.com", PUBLIC)


class _Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        size = int(self.path.strip("/"))
        self.send_header("Content-Length", str(size + ("cut" in self.headers.get("User-Agent", ""))))
        self.end_headers()
        self.wfile.write(b"x" * size)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_content_of_bounded_length_is_read(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "_MOST_BYTES", 1000)
    opener = make_opener(Rules(["127.0.0.1"]))
    assert opener.open(f"{site}/1000").read() == b"x" * 1000
    assert opener.open(f"{site}/5").read(3) == b"xxx"
    with pytest.raises(OSError, match="is over 0 MiB"):
        opener.open(f"{site}/1001").read()


def test_other_addresses_and_schemes_are_refused(site: str) -> None:
    opener = make_opener(Rules(["10.0.0.0/8"]))
    with pytest.raises(urllib.error.URLError, match="does not fetch from '127.0.0.1'"):
        opener.open(f"{site}/1")
    with pytest.raises(urllib.error.URLError, match="unknown url type"):
        opener.open("file:///etc/hostname")
    assert opener.open("data:,abc").read() == b"abc"
