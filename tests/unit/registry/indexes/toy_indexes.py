"""Indexes of small modules, and installations from them."""

import json
from pathlib import Path
from typing import Any

import pytest

from hubserve.errors import HubError, InstallError
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.indexes.build import Published, publish
from hubserve.registry.install.transaction import InstallResult
from hubserve.registry.installer import Installer
from tests.unit.registry.toys import write_module

SETTINGS = InstallSettings()


def put(index: Path, source: Path, name: str = "toy", version: str = "1.0.0", **options: Any) -> Published:
    files = {key: options.pop(key) for key in [*options] if "__" in key}
    return publish(write_module(source, name, version, **files), index, SETTINGS, **options)


def install(installer: Installer, source: str, *indexes: object) -> InstallResult:
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
    """Change every entry of a module, as the owner of the index could."""
    found = document(folder, name)
    for each in found["versions"]:
        each.update(fields)
    (folder / "modules" / f"{name}.json").write_text(json.dumps(found))
