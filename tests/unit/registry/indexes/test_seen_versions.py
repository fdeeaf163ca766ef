"""A signed index that goes back to an older state is detected."""

import json
import shutil
from pathlib import Path

import pytest

from hubserve.errors import ConfigError, InstallError
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.indexes import keys, trusted_keys
from hubserve.registry.indexes.build import publish, yank
from hubserve.registry.indexes.select import Requirement
from hubserve.registry.installer import Installer
from hubserve.registry.sources import Request
from hubserve.registry.sources.index_download import download_archive
from tests.unit.registry.toys import write_module
from tests.unit.registry.web import served

SETTINGS = InstallSettings()


class Shop:
    """A signed index with toy 1.0.0, a copy of it as it was, and a home that trusts its key."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder, self.installer = folder, Installer(home)
        self.index, self.old = folder / "index", folder / "old"
        self.key = folder / "key"
        keys.generate(self.key)
        self.put("1.0.0")
        self.keep_copy()
        trusted_keys.trust(home, "ada", keys.parse_public(f"{self.key}.pub"))

    def put(self, version: str, *, key: bool = True, force: bool = False, **files: str) -> None:
        source = write_module(self.folder / f"{version}{len(files)}", version=version, **files)
        publish(source, self.index, SETTINGS, key=self.key if key else None, force=force)

    def keep_copy(self) -> None:
        shutil.rmtree(self.old, ignore_errors=True)
        shutil.copytree(self.index, self.old)

    def go_back(self) -> None:
        """Replace the index by its old copy."""
        shutil.rmtree(self.index)
        shutil.copytree(self.old, self.index)

    def install(self, text: str = "toy", index: object = None, **options: bool) -> str:
        return self.installer.install(text, check=False, indexes=[str(index or self.index)], **options).info.version

    def refuse(self, text: str = "toy", *words: str, index: object = None) -> None:
        with pytest.raises(InstallError) as refused:
            self.install(text, index)
        assert all(word in refused.value.message for word in (*words, "--allow-downgrade")), refused.value.message

    def download(self, text: str = "toy", **options: bool) -> str:
        return download_archive(
            Request(text, self.installer.home, SETTINGS, indexes=[str(self.index)])._replace(**options), self.folder / "out"
        ).version


@pytest.fixture
def shop(tmp_path: Path, home: Path) -> Shop:
    return Shop(tmp_path, home)


def test_an_old_copy_of_a_signed_index_is_refused_even_where_the_module_is_not_installed(shop: Shop) -> None:
    shop.put("2.0.0")
    assert shop.download() == "2.0.0"
    shop.go_back()
    shop.refuse("toy", "1.0.0", "the index had 2.0.0, signed", "no longer offers it")
    shop.refuse("toy>=1", "2.0.0")
    with pytest.raises(InstallError, match="--allow-downgrade"):
        shop.download()
    assert shop.installer.installed.all() == []


def test_an_older_version_is_installed_where_the_user_names_it_or_a_range_without_the_newer(shop: Shop) -> None:
    shop.put("2.0.0")
    assert shop.install() == "2.0.0"
    assert shop.install("toy<2") == "1.0.0"
    shop.go_back()
    assert shop.install("toy==1.0") == "1.0.0"
    shop.refuse("toy", "the index had 2.0.0")


def test_what_was_allowed_once_is_what_the_index_is_held_to_from_then_on(shop: Shop) -> None:
    shop.put("2.0.0")
    assert shop.install() == "2.0.0"
    shop.go_back()
    assert shop.install(allow_downgrade=True) == "1.0.0"
    assert shop.install() == "1.0.0"
    assert shop.download() == "1.0.0"


def test_a_version_below_the_installed_one_is_refused_whatever_the_index_had(shop: Shop, tmp_path: Path) -> None:
    shop.installer.install(write_module(tmp_path / "mine", version="3.0.0"), check=False)
    shop.refuse("toy", "3.0.0 is installed, which is newer")
    assert shop.install("toy<3") == "1.0.0"


def test_a_withdrawal_that_is_taken_back_or_made_is_said(shop: Shop) -> None:
    shop.put("2.0.0")
    shop.keep_copy()
    yank(shop.index, Requirement("toy", "==2.0.0"), "leaks", SETTINGS)
    assert shop.install() == "1.0.0"
    shop.go_back()
    shop.refuse("toy", "2.0.0", "was withdrawn (leaks)", "no longer is")
    assert shop.install("toy==2.0.0") == "2.0.0"
    assert shop.install() == "2.0.0", "who names a version has seen it"
    yank(shop.index, Requirement("toy", "==2.0.0"), "again", SETTINGS)
    shop.refuse("toy", "1.0.0", "has it withdrawn now (again)")


def test_another_signed_archive_of_a_version_that_was_seen_is_refused_whichever_came_first(shop: Shop) -> None:
    shop.put("1.0.0", force=True, more__txt="repaired")
    assert shop.install() == "1.0.0"
    shop.go_back()
    for text in ("toy", "toy==1.0.0"):
        shop.refuse(text, "another archive of that version")
    assert shop.install(allow_downgrade=True) == "1.0.0"
    shop.put("1.0.0", force=True, more__txt="repaired")
    shop.refuse("toy", "another archive of that version")


def test_the_memory_is_of_the_place_however_it_is_written(shop: Shop) -> None:
    shop.put("2.0.0")
    with served() as web:
        web.folder = shop.index
        assert shop.install(index=f"http://localhost:{web.port}/") == "2.0.0"
        shop.installer.uninstall("toy")
        shop.go_back()
        shop.refuse("toy", "the index had 2.0.0", index=f"http://127.1:{web.port}/./")
    assert shop.install() == "1.0.0", "the folder itself is another place, which was never asked"


def test_only_what_a_trusted_key_signed_is_remembered(shop: Shop) -> None:
    shop.put("9.0.0", key=False)
    assert shop.install("toy==1.0.0") == "1.0.0"
    shop.go_back()
    assert shop.install() == "1.0.0"
    history = json.loads((shop.installer.home / "conf" / "index_history.json").read_text())
    assert list(history["indexes"][str(shop.index.resolve())]["toy"]) == ["1.0.0"]


def test_an_index_without_trusted_keys_is_free_to_go_back(shop: Shop) -> None:
    trusted_keys.distrust(shop.installer.home, "ada")
    shop.put("2.0.0")
    assert shop.install() == "2.0.0"
    shop.go_back()
    assert shop.install() == "1.0.0"


@pytest.mark.parametrize("text", ["{", "[]", '{"schema_version": 2}', '{"indexes": {"x": 3}}', "[" * 100_000])
def test_a_memory_that_cannot_be_read_is_an_error_with_its_place(shop: Shop, text: str) -> None:
    shop.install()
    path = shop.installer.home / "conf" / "index_history.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"index_history\.json"):
        shop.install()
