"""Folders of web servers: index pages, and servers that misbehave."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hubserve.errors import HubError, InstallError
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.downloads.http import Interrupted
from hubserve.registry.remotes import open_remote
from hubserve.registry.remotes.http_folder import names_in
from hubserve.registry.remotes.mirror import Mirror
from tests.unit.registry.web import Web, served

SETTINGS = InstallSettings(fetch_timeout_s=10)
NGINX = """<html><head><title>Index of /m/</title></head><body><h1>Index of /m/</h1><hr><pre><a href="../">../</a>
<a href="double/">double/</a>                 30-Nov-2026 05:00   -
<a href="a%20b.txt">a b.txt</a>               30-Nov-2026 05:00   4
</pre><hr></body></html>"""
APACHE = """<html><body><table><tr><th><a href="?C=N;O=D">Name</a></th><th><a href="?C=M;O=A">Last modified</a></th></tr>
<tr><td><a href="/">Parent Directory</a></td></tr><tr><td><a href="double/">double/</a></td></tr>
<tr><td><a href="a%20b.txt">a b.txt</a></td></tr></table></body></html>"""


@pytest.fixture
def web() -> Iterator[Web]:
    with served() as server:
        yield server


def page(*names: str) -> bytes:
    return "".join(f'<a href="{each}">x</a>' for each in names).encode()


def sync(web: Web, tmp_path: Path, settings: InstallSettings = SETTINGS) -> list[str]:
    mirror = Mirror(tmp_path / "mirror", "store", settings)
    mirror.sync(open_remote(f"{web.url}/m/", settings))
    return sorted(each.relative_to(mirror.files).as_posix() for each in mirror.files.rglob("*") if each.is_file())


@pytest.mark.parametrize("text", [NGINX, APACHE])
def test_index_pages_are_read(text: str) -> None:
    assert names_in(text, "/m/") == ["double/", "a b.txt"]


def test_only_links_into_the_folder_are_followed() -> None:
    links = [
        "../x",
        "/etc/passwd",
        "//other/m/x",
        "http://other/m/y",
        "a/b",
        "%2e%2e/x",
        "%2e%2e%2fx",
        "..%2fx",
        ".",
        "./",
        "javascript:x",
        "ok",
    ]
    assert names_in(page(*links).decode(), "/m/") == ["ok"]


def test_a_folder_is_copied_and_only_changes_are_fetched_again(web: Web, tmp_path: Path) -> None:
    web.files = {"/m/": page("a/", "b.txt"), "/m/a/": page("c.txt", "../../x"), "/m/a/c.txt": b"c", "/m/b.txt": b"b"}
    assert sync(web, tmp_path) == ["a/c.txt", "b.txt"]
    web.files |= {"/m/": page("a/", "d/"), "/m/d/": page("e.txt"), "/m/d/e.txt": b"e", "/m/a/c.txt": b"new"}
    web.seen.clear()
    assert sync(web, tmp_path) == ["a/c.txt", "d/e.txt"]
    assert (tmp_path / "mirror" / "files" / "store" / "a" / "c.txt").read_bytes() == b"new"
    assert len(web.asked("/m/d/e.txt")) == 2  # for its tag, and for its bytes
    web.seen.clear()
    sync(web, tmp_path)
    assert len(web.asked("/m/d/e.txt")) == 1


def test_a_cut_connection_is_taken_up_again(web: Web, tmp_path: Path) -> None:
    web.files = {"/m/": page("big"), "/m/big": b"x" * 1_000_000}
    web.cuts["/m/big"] = [400_000]
    assert sync(web, tmp_path) == ["big"]
    assert any(headers.get("Range") == "bytes=400000-" for headers in web.asked("/m/big"))


def test_a_server_that_fails_leaves_the_copy_as_it_was(web: Web, tmp_path: Path) -> None:
    web.files = {"/m/": page("b.txt"), "/m/b.txt": b"b"}
    sync(web, tmp_path)
    web.files |= {"/m/": page("b.txt", "c.txt"), "/m/c.txt": b"c" * 5000, "/m/b.txt": b"changed"}
    web.cuts["/m/c.txt"] = [2000, 0, 0, 0, 0, 0]
    web.files["/m/"] = page("b.txt", "c.txt")
    with pytest.raises(Interrupted):
        sync(web, tmp_path)
    files = tmp_path / "mirror" / "files" / "store"
    assert [each.name for each in files.iterdir()] == ["b.txt"]
    assert (files / "b.txt").read_bytes() == b"b"
    web.cuts.clear()
    assert sync(web, tmp_path) == ["b.txt", "c.txt"]
    assert any(headers.get("Range") == "bytes=2000-" for headers in web.asked("/m/c.txt"))


def test_an_endless_page_is_refused(web: Web, tmp_path: Path) -> None:
    web.endless = {"/m/"}
    with pytest.raises(InstallError, match="over 8388608 bytes"):
        sync(web, tmp_path)


def test_an_endless_file_is_refused(web: Web, tmp_path: Path) -> None:
    web.files = {"/m/": page("big")}
    web.endless = {"/m/big"}
    with pytest.raises(InstallError, match="over the 1000000 bytes"):
        sync(web, tmp_path, SETTINGS._replace(max_bytes=1_000_000))


def test_a_drip_of_bytes_is_given_up(web: Web, tmp_path: Path) -> None:
    web.files = {"/m/": b"<a href='x'>" + b" " * 10_000}
    web.drips = {"/m/"}
    with pytest.raises(Interrupted, match="sent only"):
        sync(web, tmp_path, SETTINGS._replace(fetch_timeout_s=1))


def test_a_huge_listing_is_refused(web: Web, tmp_path: Path) -> None:
    names = [f"file{number}" for number in range(60)]
    web.files = {"/m/": page(*names)} | {f"/m/{each}": b"" for each in names}
    with pytest.raises(InstallError, match="more than 50 files"):
        sync(web, tmp_path, SETTINGS._replace(max_files=50))


def test_folders_in_a_circle_are_refused(web: Web, tmp_path: Path) -> None:
    web.files = {"/m/" + "a/" * depth: page("a/") for depth in range(40)}
    with pytest.raises(InstallError, match="lead in a circle"):
        sync(web, tmp_path)


def test_a_page_that_is_missing_is_named(web: Web, tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="does not exist, or the server lists no folders"):
        sync(web, tmp_path)


@pytest.mark.parametrize("address", ["http://user:planted-secret@127.0.0.1:1/m/", "http://127.0.0.1:1/m/?key=planted-secret"])
def test_credentials_in_addresses_are_refused_and_not_shown(address: str) -> None:
    with pytest.raises(InstallError, match="netrc") as caught:
        open_remote(address, SETTINGS)
    assert "planted-secret" not in str(caught.value)


def test_other_machines_are_not_asked_over_http(tmp_path: Path) -> None:
    with pytest.raises(HubError, match="over http://"):
        open_remote("http://models.example.invalid/m/", SETTINGS)
