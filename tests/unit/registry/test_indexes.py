"""Indexes: built, published to, looked through in order, and not believed."""

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hubserve.cli.search import search
from hubserve.errors import ConfigError, HubError, InstallError, InvalidInput, LoadFailed, ModuleNotFound
from hubserve.registry import configuration
from hubserve.registry.archives.packing import pack
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.indexes import search_order
from hubserve.registry.indexes.build import Published, build, publish, yank
from hubserve.registry.indexes.format import MAX_VERSIONS, Release, read_index_document, read_module_document
from hubserve.registry.indexes.select import Requirement, best, parse_requirement
from hubserve.registry.installed import Installed
from hubserve.registry.installer import Installer
from hubserve.registry.sources import Request
from hubserve.registry.sources.index_download import keep
from tests.unit.registry.toys import tree, write_module
from tests.unit.registry.web import Web, served

SETTINGS = InstallSettings()


@pytest.fixture
def installer(home: Path) -> Installer:
    return Installer(home)


@pytest.fixture
def folder(tmp_path: Path, home: Path) -> Path:
    """An index of toy 1.0.0, 1.5.0, 2.0.0rc1 and other 3.0.0."""
    index = tmp_path / "index"
    for version in ("1.0.0", "1.5.0", "2.0.0rc1"):
        put(index, tmp_path / version, version=version)
    put(index, tmp_path / "other", "my-other", "3.0.0")
    return index


@pytest.fixture
def web(folder: Path) -> Iterator[Web]:
    with served() as server:
        server.folder = folder
        yield server


def put(index: Path, source: Path, name: str = "toy", version: str = "1.0.0", **options: Any) -> Published:
    files = {key: options.pop(key) for key in [*options] if "__" in key}
    return publish(write_module(source, name, version, **files), index, SETTINGS, **options)


def install(installer: Installer, source: str, *indexes: object) -> Installed:
    return installer.install(source, check=False, indexes=[str(each) for each in indexes] or None)


def refuse(installer: Installer, source: str, *indexes: object, words: tuple[str, ...] = (), kind: type[HubError] = InstallError) -> str:
    with pytest.raises(kind) as caught:
        install(installer, source, *indexes)
    assert all(word in caught.value.message for word in words), caught.value.message
    assert installer.installed.all() == []
    return caught.value.message


def document(folder: Path, name: str = "toy") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "modules" / f"{name}.json").read_text())
    return found


def change(folder: Path, name: str = "toy", **fields: Any) -> None:
    """Change every entry of a module, as somebody who holds the index could."""
    found = document(folder, name)
    for each in found["versions"]:
        each.update(fields)
    (folder / "modules" / f"{name}.json").write_text(json.dumps(found))


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("toy", "1.5.0"),
        ("toy==1.0.0", "1.0.0"),
        ("toy==1", "1.0.0"),
        ("toy>=1,<2", "1.5.0"),
        ("toy >= 1, < 1.5", "1.0.0"),
        ("toy~=1.0", "1.5.0"),
        ("toy!=1.5.0", "1.0.0"),
        ("toy==1.*", "1.5.0"),
        ("toy==2.0.0rc1", "2.0.0rc1"),
        ("toy>=2.0.0rc1", "2.0.0rc1"),
    ],
)
def test_a_name_a_version_or_a_range_is_installed(installer: Installer, folder: Path, text: str, version: str) -> None:
    installed = install(installer, text, folder)
    assert installed.info.version == version
    assert installed.manifest.provenance == {
        "kind": "index",
        "index": str(folder),
        "url": f"{folder}/archives/toy-{version}.tar.gz",
        "sha256": hashlib.sha256((folder / "archives" / f"toy-{version}.tar.gz").read_bytes()).hexdigest(),
    }


def test_an_index_behind_an_address_is_the_same(installer: Installer, web: Web) -> None:
    installed = install(installer, "my_other", f"http://ada:geheim@127.0.0.1:{web.port}/?token=geheim")
    assert (installed.info.name, installed.info.version) == ("my-other", "3.0.0")
    assert installed.manifest.source == f"my-other 3.0.0 from {web.url}"
    assert "geheim" not in json.dumps(installed.manifest.to_json())
    assert all(path.endswith("?token=geheim") for path, _headers in web.seen)
    assert [path.partition("?")[0] for path, _headers in web.seen] == [
        "/index.json",
        "/modules/my_other.json",
        "/archives/my-other-3.0.0.tar.gz",
    ]


def test_a_download_from_an_index_goes_on_where_it_was_cut(installer: Installer, web: Web) -> None:
    web.cuts["/archives/toy-1.5.0.tar.gz"] = [100]
    install(installer, "toy", web.url)
    assert [each.get("Range") for each in web.asked("/archives/toy-1.5.0.tar.gz")] == [None, "bytes=100-"]


def test_an_unknown_name_tells_where_was_looked_and_what_is_near(installer: Installer, folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    build(empty, SETTINGS)
    message = refuse(installer, "tory", folder, empty, words=(str(folder), str(empty), "did you mean 'toy'"), kind=ModuleNotFound)
    assert "hub search" in message
    refuse(installer, "toy==9", folder, words=("has 1.0.0, 1.5.0, 2.0.0rc1",), kind=ModuleNotFound)
    refuse(installer, "toy>=1,,<<2", folder, words=("no range of versions",), kind=InvalidInput)


def test_without_an_index_a_name_fetches_nothing_and_says_how_to_configure_one(installer: Installer) -> None:
    for text in ("toy", "toy==1.0", "toy>=1"):
        refuse(installer, text, words=("no index is configured", "hub index add"), kind=ModuleNotFound)


def test_the_first_index_that_has_a_version_wins_whatever_the_next_ones_have(installer: Installer, folder: Path, tmp_path: Path) -> None:
    public = tmp_path / "public"
    put(public, tmp_path / "evil", "toy", "99.0.0")
    assert install(installer, "toy", folder, public).info.version == "1.5.0"
    assert install(installer, "toy>=2.0.0rc1", folder, public).info.version == "2.0.0rc1"
    assert install(installer, "toy>=3", folder, public).info.version == "99.0.0"
    assert install(installer, "toy", public, folder).info.version == "99.0.0"


def test_an_index_that_does_not_answer_is_not_passed_over(installer: Installer, folder: Path, web: Web) -> None:
    with served() as gone:
        address = gone.url
    refuse(installer, "toy", address, folder, words=("does not answer",))
    refuse(installer, "toy", folder / "nothing", folder, words=("is no index",))
    web.statuses["/index.json"] = [500]
    refuse(installer, "toy", web.url, folder, words=("500",))


def test_a_withdrawn_version_is_chosen_only_by_its_number(installer: Installer, folder: Path) -> None:
    yank(folder, Requirement("toy", "==1.5"), "it was wrong", SETTINGS)
    assert install(installer, "toy", folder).info.version == "1.0.0"
    named = install(installer, "toy==1.5.0", folder)
    assert (named.manifest.provenance or {})["yanked"] == "it was wrong"
    with pytest.raises(ModuleNotFound, match=r"withdrawn: 1\.5\.0"):
        install(installer, "toy>1.0,<2", folder)
    yank(folder, Requirement("toy", "==1.5.0"), "", SETTINGS)
    assert install(installer, "toy", folder).info.version == "1.5.0"
    with pytest.raises(ModuleNotFound):
        yank(folder, Requirement("toy", "==7"), "x", SETTINGS)


def test_versions_that_pep_440_does_not_know_are_found_by_their_text_or_where_there_is_nothing_else() -> None:
    releases = [Release(version, "a", "0", 1) for version in ("nightly", "abc")]
    assert (best(releases, Requirement("toy", "")) or releases[1]).version == "nightly"
    assert best(releases, Requirement("toy", ">=1")) is None
    assert (best(releases, Requirement("toy", "==abc")) or releases[0]).version == "abc"


@pytest.mark.parametrize("text", ["a/b", "toy.tar.gz", "", ".", "-x", "toy@1", "toy 1", "toy[x]", "~toy"])
def test_what_is_no_name_is_no_requirement(text: str) -> None:
    assert parse_requirement(text) is None


def test_a_folder_of_that_name_is_meant_only_with_a_separator_or_if_no_index_has_it(
    installer: Installer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("toy", "mine"):
        write_module(tmp_path / name, name, "0.0.1")
    assert install(installer, "toy").info.version == "0.0.1", "without an index nothing else can be meant"
    search_order.add(installer.home, str(folder))
    assert install(installer, "toy").info.version == "1.5.0"
    assert install(installer, "toy/").info.version == "0.0.1"
    assert install(installer, "./toy").info.version == "0.0.1"
    assert install(installer, "mine").info.version == "0.0.1"
    assert installer.install(Path("toy"), check=False).info.version == "0.0.1"
    shutil.rmtree(folder)
    with pytest.raises(InstallError, match=r"is no index.* write \./mine"):
        install(installer, "mine")


def test_where_names_are_looked_up_is_decided_in_one_order(
    home: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = tmp_path / "second"
    second.mkdir()
    build(second, SETTINGS)
    search_order.add(home, str(folder))
    search_order.add(home, str(second), first=True)
    assert search_order.in_effect(home) == [str(second), str(folder)]
    monkeypatch.setenv("HUB_INDEX", f"{folder} https://example.invalid/x")
    assert search_order.in_effect(home) == [str(folder), "https://example.invalid/x"]
    assert search_order.in_effect(home, ["only"]) == ["only"]
    with pytest.raises(ConfigError, match="already"):
        search_order.add(home, str(folder))
    with pytest.raises(InstallError, match="is no index"):
        search_order.add(home, str(tmp_path))
    with pytest.raises(InstallError, match="http"):
        search_order.add(home, "http://example.invalid/", check=False)
    search_order.remove(home, str(folder))
    with pytest.raises(ConfigError, match="not among"):
        search_order.remove(home, str(folder))
    assert search_order.configured(home) == [str(second)]


def test_settings_of_an_index_outlive_a_reset_and_are_no_unknown_key(home: Path, folder: Path) -> None:
    search_order.add(home, str(folder))
    configuration.change(home, "install.max_files", 7)
    configuration.reset(home)
    assert configuration.load(home) == {}
    assert search_order.configured(home) == [str(folder)]
    (home / "conf" / "config.json").write_text('{"indexes": [3]}')
    with pytest.raises(ConfigError, match="'indexes' must be a list"):
        search_order.configured(home)


def test_words_are_searched_in_names_and_summaries_of_every_index(home: Path, folder: Path, web: Web) -> None:
    assert [each.name for each in search([], [str(folder)])] == ["my-other", "toy"]
    assert [(each.name, each.version, each.where) for each in search(["OTHER", "tests"], [str(folder), web.url])] == [
        ("my-other", "3.0.0", str(folder)),
        ("my-other", "3.0.0", web.url),
    ]
    assert search(["nothing"], [str(folder)]) == []
    with pytest.raises(ConfigError, match="hub index add"):
        search([])


def test_an_archive_is_kept_without_being_installed(installer: Installer, folder: Path, tmp_path: Path) -> None:
    request = Request("toy>=1", installer.home, SETTINGS, indexes=[str(folder)])
    kept = keep(request, tmp_path / "out")
    assert kept.path.read_bytes() == (folder / "archives" / "toy-1.5.0.tar.gz").read_bytes()
    assert keep(request, tmp_path / "out").path == kept.path
    kept.path.write_bytes(b"my own")
    with pytest.raises(InstallError, match="not overwritten"):
        keep(request, tmp_path / "out")
    assert kept.path.read_bytes() == b"my own"
    with pytest.raises(InvalidInput, match="no module's name"):
        keep(request._replace(text="./toy"), tmp_path)
    assert installer.installed.all() == []


def test_a_build_reads_archives_of_every_kind_at_any_depth_and_runs_none(home: Path, tmp_path: Path) -> None:
    proof, index = tmp_path / "it-ran", tmp_path / "index"
    (index / "deep" / "er").mkdir(parents=True)
    (index / ".hidden").mkdir()
    source = write_module(tmp_path / "src", extra=f"open({str(proof)!r}, 'w')", requirements__txt="numpy\n")
    pack(source, index / "deep" / "er" / "one.tar.xz")
    shutil.make_archive(str(index / "two"), "zip", write_module(tmp_path / "two", version="2.0.0"))
    (index / ".hidden" / "three.tar.gz").write_bytes(b"not looked at")
    (index / "notes.txt").write_text("not an archive")
    assert {name: [each.version for each in found.versions] for name, found in build(index, SETTINGS).items()} == {
        "toy": ["1.0.0", "2.0.0"]
    }
    assert not proof.exists()
    first = document(index)["versions"][0]
    assert first["archive"] == "deep/er/one.tar.xz"
    assert first["requirements_sha256"] == hashlib.sha256(b"numpy\n").hexdigest()
    assert first["kind"] == "paddlehub"
    before = tree(index)
    build(index, SETTINGS)
    assert tree(index) == before, "the same archives give the same index"
    (index / "two.zip").unlink()
    (index / "deep" / "er" / "one.tar.xz").unlink()
    build(index, SETTINGS)
    assert not list((index / "modules").iterdir())
    assert json.loads((index / "index.json").read_text()) == {"schema_version": 1, "modules": {}}


def test_a_build_that_fails_names_the_archive_and_writes_nothing(folder: Path, tmp_path: Path) -> None:
    (folder / "archives" / "bad.zip").write_bytes(b"PK\x03\x04 no zip")
    before = tree(folder)
    with pytest.raises(InstallError, match=r"bad\.zip"):
        build(folder, SETTINGS)
    (folder / "archives" / "bad.zip").unlink()
    shutil.copy(folder / "archives" / "toy-1.0.0.tar.gz", folder / "again.tar.gz")
    with pytest.raises(InstallError, match=r"again\.tar\.gz.*both toy 1\.0\.0|both toy 1\.0\.0"):
        build(folder, SETTINGS)
    (folder / "again.tar.gz").unlink()
    pack(write_module(tmp_path / "clash", "my_other", "9"), folder / "clash.tar.gz")
    with pytest.raises(InstallError, match="share one place"):
        build(folder, SETTINGS)
    (folder / "clash.tar.gz").unlink()
    assert {key: value for key, value in before.items() if "bad" not in key} == tree(folder)


def test_a_version_is_not_published_twice_with_other_content(folder: Path, tmp_path: Path, installer: Installer) -> None:
    before = tree(folder)
    assert not put(folder, tmp_path / "1.0.0").added
    assert tree(folder) == before
    with pytest.raises(InstallError, match="--force"):
        put(folder, tmp_path / "changed", more__txt="other")
    assert tree(folder) == before
    assert put(folder, tmp_path / "changed", force=True).added
    assert (install(installer, "toy==1.0.0", folder).folder / "more.txt").exists()
    assert len(list((folder / "archives").iterdir())) == 4
    build(folder, SETTINGS)


def test_what_is_no_module_is_not_published(folder: Path, tmp_path: Path) -> None:
    before = tree(folder)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(LoadFailed):
        publish(tmp_path / "nothing", folder, SETTINGS)
    with pytest.raises(ModuleNotFound):
        publish(tmp_path / "gone", folder, SETTINGS)
    (tmp_path / "bad.tar.gz").write_bytes(b"bad")
    with pytest.raises(InstallError):
        publish(tmp_path / "bad.tar.gz", folder, SETTINGS)
    assert tree(folder) == before


def test_several_that_publish_at_once_lose_nothing(home: Path, tmp_path: Path, installer: Installer) -> None:
    index, failures = tmp_path / "index", []

    def one(number: int) -> None:
        try:
            put(index, tmp_path / f"src{number}", version=f"1.{number}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failures == []
    assert [each["version"] for each in document(index)["versions"]] == [f"1.{number}" for number in range(6)]
    assert install(installer, "toy", index).info.version == "1.5"


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
    refuse(installer, "toy", folder, words=("not there", "hub index build"))
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
        ({"archive": "https://example.invalid/x.tar.gz"}, "no path inside"),
        ({"archive": "//example.invalid/x.tar.gz"}, "absolute"),
        ({"archive": "a\\..\\b"}, "backslash"),
        ({"archive": "archives/x?y#z"}, "no path inside"),
        ({"archive": "archives/%2e%2e/%2e%2e/x"}, "no path inside"),
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


def test_a_size_that_no_module_may_have_is_refused_before_anything_is_fetched(installer: Installer, folder: Path, web: Web) -> None:
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


def test_an_index_that_tells_of_another_module_or_lost_its_document_is_refused(installer: Installer, folder: Path) -> None:
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
