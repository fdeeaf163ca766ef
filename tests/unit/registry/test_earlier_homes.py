"""A home as an earlier release wrote it, byte for byte: it is listed, rolled back, uninstalled, collected and changed."""

import json
from pathlib import Path

import pytest

from hubserve.registry.configuration import install_settings
from hubserve.registry.digests import measure
from hubserve.registry.gc import REPLACED, UNUSED, collect
from hubserve.registry.install.verification import verify
from hubserve.registry.installer import Installer
from tests.unit.registry.toys import strays, write_module

HISTORY = """{
 "schema_version": 1,
 "current": "0.9.0",
 "versions": {
  "1.0.0": ".1.0.0-c92e11be",
  "1.1.0": ".1.1.0-bfd52ab0",
  "0.9.0": ".0.9.0-c08b1abe"
 },
 "changes": [
  {
   "current": "1.0.0",
   "version": "1.1.0",
   "place": ""
  },
  {
   "current": "1.1.0",
   "version": "1.1.0",
   "place": ".1.1.0-313cb405"
  },
  {
   "current": "1.1.0",
   "version": "0.9.0",
   "place": ""
  }
 ]
}
"""
MANIFEST = """{
  "schema_version": 1,
  "name": "toy",
  "version": "VERSION",
  "kind": "paddlehub",
  "metadata": {"name": "toy", "version": "VERSION", "kind": "paddlehub", "summary": "For tests", "serving_method": "say", "runnable": true},
  "source": "/src/toy",
  "source_folder": "/src/toy",
  "import_folder": "toy",
  "installed_at": "2026-11-29T22:24:41+00:00",
  "digest": "DIGEST",
  "files": 3,
  "size_bytes": 289,
  "environment": "",
  "environment_choice": {"profile": "", "asked": "", "packages": [], "why": "it has what its code imports", "lacks": []},
  "provenance": {"kind": "folder"}
}
"""
DIRECTORIES = {".1.0.0-c92e11be": "a", ".1.1.0-313cb405": "b", ".1.1.0-bfd52ab0": "c", ".0.9.0-c08b1abe": "d"}


@pytest.fixture
def installer(home: Path) -> Installer:
    name_folder = home / "modules" / "toy"
    for directory, which in DIRECTORIES.items():
        version = directory[1:].partition("-")[0]
        folder = write_module(name_folder / directory, version=version, which__txt=which)
        (folder / ".hubserve.json").write_text(MANIFEST.replace("VERSION", version).replace("DIGEST", measure(folder).digest))
    for version, directory in json.loads(HISTORY)["versions"].items():
        (name_folder / version).symlink_to(directory)
    (name_folder / ".history.json").write_text(HISTORY)
    (home / "conf").mkdir(exist_ok=True)
    (home / "conf" / "config.json").write_text(
        '{\n  "install": {\n    "keep_replaced": 2\n  },\n  "server_url": ["http://paddlepaddle.org.cn/paddlehub"]\n}\n'
    )
    return Installer(home)


def current(installer: Installer) -> tuple[str, str]:
    one = installer.installed.get("toy")
    return one.info.version, (one.folder / "which.txt").read_text()


def test_it_is_listed_and_verified(installer: Installer) -> None:
    listing = installer.installed.scan()
    assert [(each.info.version, each.is_current) for each in listing.installed] == [("0.9.0", True), ("1.0.0", False), ("1.1.0", False)]
    assert listing.notes == []
    assert all(verify(each).is_intact for each in listing.installed)
    assert install_settings(installer.home).keep_replaced == 2
    assert (installer.home / "modules" / "toy" / ".history.json").read_text() == HISTORY, "reading changes nothing"


def test_it_is_rolled_back_to_its_beginning(installer: Installer) -> None:
    found = [current(installer)]
    for _ in range(3):
        installer.rollback("toy")
        found.append(current(installer))
    assert found == [("0.9.0", "d"), ("1.1.0", "c"), ("1.1.0", "b"), ("1.0.0", "a")]
    assert strays(installer) == []


def test_it_is_uninstalled_and_collected(installer: Installer) -> None:
    assert [(each.kind, each.path.name) for each in collect(installer.home, dry_run=True)] == [(REPLACED, ".1.1.0-313cb405")]
    collect(installer.home)
    assert installer.installed.replaced("toy") == []
    installer.uninstall("toy", "0.9.0")
    assert current(installer) == ("1.1.0", "c")
    assert strays(installer) == []
    installer.uninstall("toy")
    assert not (installer.home / "modules" / "toy").exists()
    assert not [each for each in collect(installer.home) if each.kind == UNUSED]


def test_what_is_written_back_has_the_same_form(installer: Installer, tmp_path: Path) -> None:
    installer.install(write_module(tmp_path / "new", version="1.0.0", which__txt="e"), check=False)
    written = json.loads((installer.home / "modules" / "toy" / ".history.json").read_text())
    before = json.loads(HISTORY)
    assert written["changes"] == [*before["changes"], {"current": "0.9.0", "version": "1.0.0", "place": ".1.0.0-c92e11be"}]
    assert written.keys() == before.keys()
    assert (written["schema_version"], written["current"]) == (1, "1.0.0")
