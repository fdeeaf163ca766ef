"""The manifest: written once, read for years."""

import json
from pathlib import Path

import pytest

from hubserve.errors import InstallError
from hubserve.kinds.base import ModuleInfo
from hubserve.registry.digests import measure
from hubserve.registry.manifest import MANIFEST_NAME, Manifest, read_manifest, write_manifest

MANIFEST = Manifest(
    info=ModuleInfo("toy", "1.0.0", "paddlehub", author="我", serving_method="say"),
    source="/src/toy",
    source_folder="/src/toy",
    import_folder="toy",
    installed_at="2026-01-01T00:00:00+00:00",
    digest="sha256:" + "0" * 64,
    files=2,
    size_bytes=10,
)


def test_what_is_written_is_read_and_carries_its_schema(tmp_path: Path) -> None:
    write_manifest(tmp_path, MANIFEST)
    assert read_manifest(tmp_path) == MANIFEST
    assert json.loads((tmp_path / MANIFEST_NAME).read_text(encoding="utf-8"))["schema_version"] == 1


def test_where_it_came_from_is_kept_and_may_be_missing(tmp_path: Path) -> None:
    with_provenance = MANIFEST._replace(provenance={"kind": "git", "commit": "abc"})
    write_manifest(tmp_path, with_provenance)
    assert read_manifest(tmp_path) == with_provenance
    assert "provenance" not in MANIFEST.to_json()
    for damaged in ({"kind": 3}, ["git"], "git"):
        (tmp_path / MANIFEST_NAME).write_text(json.dumps({**MANIFEST.to_json(), "provenance": damaged}))
        with pytest.raises(InstallError, match="damaged"):
            read_manifest(tmp_path)


def test_metadata_of_another_version_of_hubserve_do_no_harm(tmp_path: Path) -> None:
    document = MANIFEST.to_json()
    document["metadata"]["colour"] = "green"
    del document["metadata"]["batches"]
    (tmp_path / MANIFEST_NAME).write_text(json.dumps(document))
    assert read_manifest(tmp_path) == MANIFEST


def test_a_newer_schema_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / MANIFEST_NAME).write_text(json.dumps({**MANIFEST.to_json(), "schema_version": 2}))
    with pytest.raises(InstallError, match=r"schema_version 2.*Upgrade hubserve"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", "null", '{"schema_version": 1}', '{"schema_version": 1, "metadata": {}, "source": 3}'])
def test_a_damaged_manifest_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / MANIFEST_NAME).write_text(content)
    with pytest.raises(InstallError, match=str(tmp_path / MANIFEST_NAME)):
        read_manifest(tmp_path)


def test_a_missing_manifest_means_that_hub_did_not_install_it(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="was not installed by hub"):
        read_manifest(tmp_path)


def test_the_digest_follows_paths_and_bytes_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "x").write_text("1")
    (folder / "y").write_text("22")
    first = measure(folder)
    assert (first.files, first.size_bytes) == (2, 3)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_text("made later")
    (folder / MANIFEST_NAME).write_text("{}")
    assert measure(folder) == first
    (folder / "y").rename(folder / "z")
    renamed = measure(folder)
    (folder / "z").write_text("23")
    assert len({first.digest, renamed.digest, measure(folder).digest}) == 3
