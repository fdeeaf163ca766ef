"""Names, versions and ranges are looked up in indexes, in order."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from hubserve.cli.search import search
from hubserve.errors import ConfigError, InstallError, InvalidInput, ModuleNotFound
from hubserve.registry import configuration
from hubserve.registry.indexes import search_order
from hubserve.registry.indexes.build import build, yank
from hubserve.registry.indexes.format import Release
from hubserve.registry.indexes.select import Requirement, best, parse_requirement
from hubserve.registry.installer import Installer
from hubserve.registry.sources import Request
from hubserve.registry.sources.index_download import download_archive
from tests.unit.registry.indexes.toy_indexes import SETTINGS, install, put, refuse
from tests.unit.registry.toys import write_module
from tests.unit.registry.web import Web, served


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


def test_an_unknown_name_is_refused_with_the_searched_indexes_and_similar_names(installer: Installer, folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    build(empty, SETTINGS)
    message = refuse(installer, "tory", folder, empty, words=(str(folder), str(empty), "did you mean 'toy'"), kind=ModuleNotFound)
    assert "hub search" in message
    refuse(installer, "toy==9", folder, words=("has 1.0.0, 1.5.0, 2.0.0rc1",), kind=ModuleNotFound)
    refuse(installer, "toy>=1,,<<2", folder, words=("not a range of versions",), kind=InvalidInput)


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
    refuse(installer, "toy", folder / "nothing", folder, words=("is not an index",))
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
    with pytest.raises(InstallError, match=r"is not an index.* write \./mine"):
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
    with pytest.raises(InstallError, match="is not an index"):
        search_order.add(home, str(tmp_path))
    with pytest.raises(InstallError, match="http"):
        search_order.add(home, "http://example.invalid/", check=False)
    search_order.remove(home, str(folder))
    with pytest.raises(ConfigError, match="is not a configured index"):
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
    kept = download_archive(request, tmp_path / "out")
    assert kept.path.read_bytes() == (folder / "archives" / "toy-1.5.0.tar.gz").read_bytes()
    assert download_archive(request, tmp_path / "out").path == kept.path
    kept.path.write_bytes(b"my own")
    with pytest.raises(InstallError, match="not overwritten"):
        download_archive(request, tmp_path / "out")
    assert kept.path.read_bytes() == b"my own"
    with pytest.raises(InvalidInput, match="is not a module's name"):
        download_archive(request._replace(text="./toy"), tmp_path)
    assert installer.installed.all() == []
