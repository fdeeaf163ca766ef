"""Archives behind addresses: cut connections, wrong digests, bad servers."""

import hashlib
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hubserve.errors import HubError, InstallError
from hubserve.registry import configuration
from hubserve.registry.archives.packing import pack
from hubserve.registry.downloads import http
from hubserve.registry.downloads.addresses import check_sha256, without_secrets
from hubserve.registry.installed import Installed
from hubserve.registry.installer import Installer
from tests.unit.registry.toys import tree, write_module
from tests.unit.registry.web import Web, served


@pytest.fixture
def web() -> Iterator[Web]:
    with served() as server:
        yield server


@pytest.fixture
def installer(home: Path) -> Installer:
    return Installer(home)


@pytest.fixture
def archive(tmp_path: Path, web: Web, home: Path) -> bytes:
    """Half a megabyte that does not shrink, served as /toy.tar.gz."""
    folder = write_module(tmp_path / "src")
    (folder / "weights.bin").write_bytes(random.Random(1).randbytes(500_000))
    body = pack(folder, tmp_path).read_bytes()
    web.files["/toy.tar.gz"] = body
    return body


def install(installer: Installer, source: str, **options: object) -> Installed:
    return installer.install(source, check=False, **options)  # type: ignore[arg-type]


def installed_files(installer: Installer) -> dict[str, bytes | None]:
    return {path: content for path, content in tree(installer.installed.modules).items() if not path.startswith(".")}


def refuse(installer: Installer, source: str, *words: str, **options: object) -> str:
    before = installed_files(installer)
    with pytest.raises(HubError) as caught:
        install(installer, source, **options)
    assert all(word in caught.value.message for word in words), caught.value.message
    assert installed_files(installer) == before
    return caught.value.message


def kept(installer: Installer) -> list[Path]:
    return sorted((installer.home / "cache" / "downloads").glob("*/data"))


def test_an_address_is_installed_and_its_provenance_kept(installer: Installer, web: Web, archive: bytes) -> None:
    sha256 = hashlib.sha256(archive).hexdigest()
    manifest = install(installer, f"{web.url}/toy.tar.gz#sha256={sha256}").manifest
    assert manifest.provenance == {"kind": "url", "url": f"{web.url}/toy.tar.gz", "sha256": sha256}
    assert (manifest.source, manifest.source_folder) == (f"{web.url}/toy.tar.gz", "")
    assert installer.installed.get("toy").manifest.provenance == manifest.provenance
    assert kept(installer) == []


def test_a_download_that_is_cut_goes_on_where_it_stopped(installer: Installer, web: Web, archive: bytes) -> None:
    web.cuts["/toy.tar.gz"] = [100_000, 150_000, 7]
    steps: list[int] = []
    install(installer, f"{web.url}/toy.tar.gz", progress=lambda step, done=0, total=0: step == "fetching" and steps.append(done))
    assert [each.get("Range") for each in web.asked("/toy.tar.gz")] == [None, "bytes=100000-", "bytes=250000-", "bytes=250007-"]
    assert all(each["If-Range"].startswith('"') for each in web.asked("/toy.tar.gz")[1:])
    assert steps == sorted(steps)
    assert steps[-1] == len(archive)


def test_what_came_before_a_failure_is_kept_for_the_next_try(
    installer: Installer, web: Web, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubserve.registry.downloads.partial_file._PAUSES_S", (0.0, 0.0))
    web.cuts["/toy.tar.gz"] = [200_000, 0, 0, 0]
    message = refuse(installer, f"{web.url}/toy.tar.gz", "was cut", "200000 bytes are kept")
    assert "Try again" in message
    assert [each.stat().st_size for each in kept(installer)] == [200_000]
    web.seen.clear()
    install(installer, f"{web.url}/toy.tar.gz")
    assert [each.get("Range") for each in web.asked("/toy.tar.gz")] == ["bytes=200000-"]
    assert kept(installer) == []


def test_a_complete_download_is_not_fetched_again_after_a_failed_install(installer: Installer, web: Web, archive: bytes) -> None:
    write_module(installer.installed.modules / "toy")  # PaddleHub's own, which is in the way
    refuse(installer, f"{web.url}/toy.tar.gz", "PaddleHub itself")
    (installer.installed.modules / "toy" / "module.py").unlink()
    install(installer, f"{web.url}/toy.tar.gz")
    assert [each.get("Range") for each in web.asked("/toy.tar.gz")] == [None, f"bytes={len(archive)}-"]


@pytest.mark.parametrize(("tags", "looks"), [(True, True), (False, True), (True, False)])
def test_a_file_that_changed_meanwhile_is_fetched_from_its_start(
    installer: Installer, web: Web, archive: bytes, tmp_path: Path, tags: bool, looks: bool
) -> None:
    web.tags, web.looks_at_if_range = tags, looks
    web.cuts["/toy.tar.gz"] = [200_000]
    folder = write_module(tmp_path / "other", version="2.0.0")
    (folder / "weights.bin").write_bytes(random.Random(2).randbytes(500_000))
    other = pack(folder, tmp_path).read_bytes()

    def change(step: str, _done: int = 0, _total: int = 0) -> None:
        if "going on" in step:
            web.files["/toy.tar.gz"] = other
            web.tags = True

    assert install(installer, f"{web.url}/toy.tar.gz", progress=change).info.version == "2.0.0"


@pytest.mark.parametrize("what", ["ranges", "announces_size"])
def test_a_server_that_knows_neither_ranges_nor_sizes_will_do(installer: Installer, web: Web, archive: bytes, what: str) -> None:
    setattr(web, what, False)
    web.cuts["/toy.tar.gz"] = [200_000] if what == "ranges" else []
    assert install(installer, f"{web.url}/toy.tar.gz").info.name == "toy"


def test_a_part_of_another_file_is_discarded_if_the_digest_differs(
    installer: Installer, web: Web, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"{web.url}/toy.tar.gz#sha256={hashlib.sha256(archive).hexdigest()}"
    web.cuts["/toy.tar.gz"] = [200_000]

    def damage(step: str, _done: int = 0, _total: int = 0) -> None:
        if "going on" in step:
            with kept(installer)[0].open("r+b") as file:
                file.write(b"something else")

    with pytest.raises(InstallError, match="SHA-256"):
        install(installer, source, progress=damage)
    assert kept(installer) == []
    monkeypatch.setattr("hubserve.registry.downloads.partial_file._PAUSES_S", (0.0,))
    web.cuts["/toy.tar.gz"] = [200_000, 0, 0]
    refuse(installer, source, "was cut")
    with kept(installer)[0].open("r+b") as file:
        file.write(b"something else")
    install(installer, source)


@pytest.mark.parametrize("way", ["fragment", "option"])
def test_another_digest_than_was_asked_for_is_refused_and_not_kept(installer: Installer, web: Web, archive: bytes, way: str) -> None:
    wrong = "0" * 64
    source = f"{web.url}/toy.tar.gz" + (f"#sha256={wrong}" if way == "fragment" else "")
    refuse(installer, source, "is refused", wrong, hashlib.sha256(archive).hexdigest(), digest=f"sha256:{wrong}" if way == "option" else "")
    assert kept(installer) == []


def test_a_digest_is_checked_of_a_file_here_too_and_of_a_folder_means_nothing(installer: Installer, archive: bytes, tmp_path: Path) -> None:
    path = tmp_path / "toy-1.0.0.tar.gz"
    refuse(installer, str(path), "is refused", digest="1" * 64)
    refuse(installer, str(tmp_path / "src"), "a digest is of an archive", digest="1" * 64)
    refuse(installer, str(path), "is not a digest", digest="sha256:12")
    found = install(installer, str(path), digest="SHA256:" + hashlib.sha256(archive).hexdigest().upper())
    assert found.manifest.provenance == {"kind": "archive", "sha256": check_sha256(hashlib.sha256(archive).hexdigest())}


def test_a_body_that_is_too_large_or_never_ends_is_given_up(installer: Installer, web: Web, archive: bytes) -> None:
    configuration.change(installer.home, "install.max_bytes", 300_000)
    refuse(installer, f"{web.url}/toy.tar.gz", "over the 300000 bytes", "install.max_bytes")
    web.endless.add("/endless.tar.gz")
    refuse(installer, f"{web.url}/endless.tar.gz", "over the 300000 bytes")
    assert kept(installer) == []


def test_a_server_that_drips_or_is_silent_is_given_up(
    installer: Installer, web: Web, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hubserve.registry.downloads.partial_file._PAUSES_S", (0.0,))
    configuration.change(installer.home, "install.fetch_timeout_s", 1)
    web.drips.add("/toy.tar.gz")
    refuse(installer, f"{web.url}/toy.tar.gz", "sent only", "install.fetch_timeout_s")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        refuse(installer, f"http://127.0.0.1:{silent.getsockname()[1]}/toy.tar.gz", "does not answer")


@pytest.mark.parametrize(
    ("status", "words"),
    [(404, "nothing at this address"), (403, "credentials"), (401, "netrc"), (418, "418")],
)
def test_an_error_status_is_explained(installer: Installer, web: Web, archive: bytes, status: int, words: str) -> None:
    web.statuses["/toy.tar.gz"] = [status]
    refuse(installer, f"{web.url}/toy.tar.gz", str(status), words)
    assert len(web.seen) == 1


def test_a_server_that_is_busy_is_asked_again(installer: Installer, web: Web, archive: bytes) -> None:
    web.statuses["/toy.tar.gz"] = [503, 429]
    assert install(installer, f"{web.url}/toy.tar.gz").info.name == "toy"


def test_redirects_are_followed_a_few_times(installer: Installer, web: Web, archive: bytes) -> None:
    web.redirects = {"/a": "/b", "/b": f"{web.url}/toy.tar.gz"}
    assert install(installer, f"{web.url}/a").manifest.source == f"{web.url}/a"
    web.redirects["/loop"] = "/loop"
    refuse(installer, f"{web.url}/loop", "redirects more than 5 times")
    assert len(web.asked("/loop")) == 6


def test_a_redirect_from_https_to_http_is_refused() -> None:
    with pytest.raises(InstallError, match="not https"):
        http._redirected("https://example.invalid/a", "http://127.0.0.1/b")
    assert http._redirected("https://example.invalid/a/b", "../c?d=1") == "https://example.invalid/c?d=1"
    assert http._redirected("https://example.invalid/a", "https://user:pw@other.invalid/b") == "https://other.invalid/b"


@pytest.mark.parametrize(
    "target", ["http://192.0.2.1/toy.tar.gz", "file:///etc/passwd", "ftp://127.0.0.1/x", "http://localhost.example.invalid/x"]
)
def test_a_redirect_to_a_forbidden_address_is_refused(installer: Installer, web: Web, target: str) -> None:
    web.redirects["/a"] = target
    refuse(installer, f"{web.url}/a", "fetched")


def test_credentials_stay_with_their_host_and_are_shown_nowhere(installer: Installer, web: Web, archive: bytes) -> None:
    with served() as other:
        other.files = dict(web.files)
        web.redirects["/moved"] = f"{other.url}/toy.tar.gz"
        source = f"http://ada:geheim@127.0.0.1:{web.port}/moved?token=geheim"
        manifest = install(installer, source).manifest
        assert "Authorization" in web.seen[0][1]
        assert web.seen[0][0] == "/moved?token=geheim"
        assert "Authorization" not in other.seen[0][1]
        assert "geheim" not in str(manifest.to_json())
        assert manifest.source == f"{web.url}/moved"
    message = refuse(installer, source, "does not answer")
    assert "geheim" not in message
    assert without_secrets("https://a:b@host/p?q#f") == "https://host/p"


@pytest.mark.parametrize(
    "source", ["http://example.invalid/x.tar.gz", "http://192.0.2.7/x", "ftp://127.0.0.1/x", "https:///x", "file:///tmp/x.zip"]
)
def test_an_address_that_is_not_safe_is_refused_before_anything_is_sent(installer: Installer, source: str) -> None:
    refuse(installer, source, "fetched", "https://")


@pytest.mark.parametrize("fragment", ["#sha256=12", "#md5=1", "#egg=toy", "#sha256="])
def test_a_fragment_that_means_nothing_is_refused(installer: Installer, web: Web, archive: bytes, fragment: str) -> None:
    refuse(installer, f"{web.url}/toy.tar.gz{fragment}")
    assert web.seen == []


def test_a_download_that_is_not_an_archive_is_reported_with_its_address(installer: Installer, web: Web, home: Path) -> None:
    web.files["/page"] = b"<html>Sign in</html>"
    message = refuse(installer, f"{web.url}/page", f"{web.url}/page", "not a .tar")
    assert str(home) not in message


def test_two_that_want_the_same_address_at_once_both_get_it(installer: Installer, web: Web, archive: bytes) -> None:
    web.cuts["/toy.tar.gz"] = [300_000]
    failures: list[BaseException] = []

    def one() -> None:
        try:
            install(installer, f"{web.url}/toy.tar.gz")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failures == []
    assert installer.installed.versions("toy") == ["1.0.0"]
    assert kept(installer) == []


def test_where_signatures_are_required_an_address_and_an_archive_are_refused_and_nothing_is_fetched(
    installer: Installer, web: Web, archive: bytes, tmp_path: Path
) -> None:
    configuration.change(installer.home, "install.require_signature", "true")
    refuse(installer, f"{web.url}/toy.tar.gz", "require_signature")
    refuse(installer, str(tmp_path / "toy-1.0.0.tar.gz"), "require_signature")
    refuse(installer, "git+https://127.0.0.1/x.git", "require_signature")
    assert web.seen == []
    assert install(installer, str(tmp_path / "src")).info.name == "toy", "a folder is the user's own"
