"""Indexes that are damaged or mean harm are refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from hubserve.errors import InstallError
from hubserve.registry.indexes.format import MAX_VERSIONS, read_index_document, read_module_document
from hubserve.registry.installer import Installer
from tests.unit.registry.indexes.toy_indexes import change, document, refuse
from tests.unit.registry.web import Web


def test_an_archive_that_was_changed_is_refused_wherever_it_is(installer: Installer, folder: Path, web: Web) -> None:
    archive = folder / "archives" / "toy-1.5.0.tar.gz"
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    for index in (folder, web.url):
        refuse(installer, "toy", index, words=("SHA-256", "toy-1.5.0.tar.gz"))
    archive.write_bytes(whole + b"more")
    for index in (folder, web.url):
        refuse(installer, "toy", index, words=("larger than",))
    archive.unlink()
    refuse(installer, "toy", folder, words=("does not exist", "hub index build"))
    refuse(installer, "toy", web.url, words=("404",))


def test_an_archive_with_another_module_than_its_index_says_is_refused(installer: Installer, folder: Path) -> None:
    other = document(folder, "my_other")["versions"][0]
    change(folder, archive=other["archive"], sha256=other["sha256"], size_bytes=other["size_bytes"])
    refuse(installer, "toy==1.0.0", folder, words=("should hold toy 1.0.0, and holds my-other 3.0.0",))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"archive": "../../etc/passwd"}, "climbs"),
        ({"archive": "/etc/passwd"}, "absolute"),
        ({"archive": "https://example.invalid/x.tar.gz"}, "not a path inside"),
        ({"archive": "//example.invalid/x.tar.gz"}, "absolute"),
        ({"archive": "a\\..\\b"}, "backslash"),
        ({"archive": "archives/x?y#z"}, "not a path inside"),
        ({"archive": "archives/%2e%2e/%2e%2e/x"}, "not a path inside"),
        ({"archive": ""}, "no archive"),
        ({"archive": 3}, "archive"),
        ({"archive": "a\nb"}, "control characters"),
        ({"sha256": "x"}, "64 hexadecimal"),
        ({"sha256": None}, "sha256"),
        ({"size_bytes": -1}, "below 0"),
        ({"size_bytes": "12"}, "size_bytes"),
        ({"size_bytes": 1e400}, "Infinity"),
        ({"version": "../../x"}, "version"),
        ({"version": "1.0.0"}, "twice"),
        ({"version": ["1"]}, "version"),
        ({"signature": "yes"}, "signature"),
        ({"yanked": True}, "yanked"),
    ],
)
def test_a_hostile_entry_is_refused_and_nothing_else_is_asked_for(
    installer: Installer, folder: Path, web: Web, fields: dict[str, Any], words: str
) -> None:
    change(folder, **fields)
    for index in (folder, web.url):
        message = refuse(installer, "toy", index, words=("modules/toy.json",))
        assert words in message or "malformed" in message, message
    assert not any("archives" in path or "etc" in path for path, _headers in web.seen)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b"null",
        b"<html>Sign in</html>",
        b'{"schema_version": 1}',
        b'{"schema_version": "1", "modules": {}}',
        b'{"schema_version": 1, "modules": []}',
        b'{"schema_version": 1, "modules": {"toy": 3}}',
        b'{"schema_version": 1, "modules": {"../x": {}}}',
        b'{"schema_version": 1, "modules": {"toy": {"latest": 3}}}',
        b'{"schema_version": 2, "modules": {}}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"schema_version": 1, "modules": ' + b'{"a":' * 50_000,
    ],
    ids=lambda body: repr(body[:40]),
)
def test_a_hostile_list_of_names_is_refused_with_the_place_it_came_from(installer: Installer, folder: Path, web: Web, body: bytes) -> None:
    (folder / "index.json").write_bytes(body)
    for index in (folder, web.url):
        refuse(installer, "toy", index, words=("index.json",))


def test_a_size_over_the_limit_is_refused_before_the_download(installer: Installer, folder: Path, web: Web) -> None:
    change(folder, size_bytes=10**40)
    refuse(installer, "toy", web.url, words=("more than the", "install.max_bytes"))
    assert not any("archives" in path for path, _headers in web.seen)


def test_huge_counts_and_documents_are_refused(installer: Installer, folder: Path, web: Web) -> None:
    many = {"schema_version": 1, "modules": {f"m{number}": {} for number in range(100_001)}}
    with pytest.raises(InstallError, match="100000 is the most"):
        read_index_document(json.dumps(many).encode(), "index")
    entry = document(folder)["versions"][0]
    versions = [{**entry, "version": str(number)} for number in range(MAX_VERSIONS + 1)]
    with pytest.raises(InstallError, match="10000 is the most"):
        read_module_document(json.dumps({"schema_version": 1, "name": "toy", "versions": versions}).encode(), "toy", "x")
    web.endless.add("/index.json")
    refuse(installer, "toy", web.url, words=("more than such a document may have",))
    with (folder / "index.json").open("wb") as file:
        file.truncate(33 << 20)
    refuse(installer, "toy", folder, words=("over",))


def test_an_index_with_another_modules_document_or_without_one_is_refused(installer: Installer, folder: Path) -> None:
    shutil.copy(folder / "modules" / "my_other.json", folder / "modules" / "toy.json")
    refuse(installer, "toy", folder, words=("is about 'my-other'",))
    (folder / "modules" / "toy.json").unlink()
    refuse(installer, "toy", folder, words=("has no modules/toy.json", "hub index build"))


def test_links_that_lead_out_of_a_local_index_are_not_read(installer: Installer, folder: Path, tmp_path: Path) -> None:
    archive = folder / "archives" / "toy-1.5.0.tar.gz"
    archive.rename(tmp_path / "away.tar.gz")
    archive.symlink_to(tmp_path / "away.tar.gz")
    refuse(installer, "toy", folder, words=("leads outside",))


def test_a_digest_may_be_asked_for_beside_that_of_the_index(installer: Installer, folder: Path) -> None:
    with pytest.raises(InstallError, match="was expected"):
        installer.install("toy", check=False, indexes=[str(folder)], digest="0" * 64)
    assert installer.installed.all() == []
