"""Detect changes of models."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hubserve.errors import ConfigError
from hubserve.registry.model_store import find_models
from hubserve.server.store_watch import StoreWatch


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        (tmp_path / "store" / name / "1").mkdir(parents=True)
        (tmp_path / "store" / name / "1" / "model.py").write_text("pass")
    return tmp_path / "store"


@pytest.fixture
def watch(store: Path) -> StoreWatch:
    return StoreWatch(lambda: find_models([store]))


def rewrite(file: Path) -> None:
    """Replace a file by another of the same length and time."""
    before = file.stat()
    file.with_name("new").write_text("fail")
    os.utime(file.with_name("new"), ns=(before.st_atime_ns, before.st_mtime_ns))
    file.with_name("new").replace(file)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "1" / "model.py").write_text("longer"),
        lambda folder: os.utime(folder / "1" / "model.py", ns=(1, 1)),
        lambda folder: rewrite(folder / "1" / "model.py"),
        lambda folder: (folder / "config.pbtxt").touch(),
        lambda folder: (folder / "2").mkdir(),
        lambda folder: shutil.rmtree(folder / "1"),
        lambda folder: (folder / "1" / "model.py").rename(folder / "1" / "other.py"),
    ],
)
def test_every_change_of_a_model_is_reported_once(store: Path, watch: StoreWatch, change: Callable[[Path], object]) -> None:
    assert watch.changes() == ([], [])
    change(store / "one")
    assert watch.changes() == (["one"], [])
    assert watch.changes() == ([], [])


def test_added_and_removed_models_are_reported(store: Path, watch: StoreWatch) -> None:
    shutil.copytree(store / "one", store / "three")
    shutil.rmtree(store / "two")
    assert watch.changes() == (["three"], ["two"])


def test_files_left_by_running_a_model_are_not_a_change(store: Path, watch: StoreWatch) -> None:
    (store / "one" / "1" / "__pycache__").mkdir()
    (store / "one" / "1" / "__pycache__" / "model.pyc").touch()
    assert watch.changes() == ([], [])


def test_links_to_folders_are_followed_and_recursive_ones_end(store: Path, watch: StoreWatch, tmp_path: Path) -> None:
    shutil.copytree(store / "one", tmp_path / "elsewhere")
    (store / "linked").symlink_to(tmp_path / "elsewhere")
    (store / "two" / "self").symlink_to(store / "two")
    (store / "two" / "nothing").symlink_to(store / "nowhere")
    assert watch.changes() == (["linked", "two"], [])
    (tmp_path / "elsewhere" / "1" / "model.py").write_text("another one")
    assert watch.changes() == (["linked"], [])


def test_a_store_that_cannot_be_read_changes_nothing(store: Path, watch: StoreWatch) -> None:
    store.rename(store.with_name("away"))
    with pytest.raises(ConfigError):
        watch.changes()
    store.with_name("away").rename(store)
    assert watch.changes() == ([], [])
