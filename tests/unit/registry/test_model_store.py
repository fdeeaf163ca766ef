"""Entries of a store: models, and the reports about others."""

import logging
from pathlib import Path

import pytest

from hubserve.errors import ConfigError
from hubserve.gateway.triton_deployment import plan_stores
from hubserve.registry.model_store import find_models, other_entries, why_no_model
from hubserve.settings import parse_settings
from tests.triton_models import write_scale


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_scale(tmp_path, "good")
    (tmp_path / "docs" / "images").mkdir(parents=True)
    (tmp_path / "docs" / "guide.md").write_text("# read this")
    (tmp_path / "lost+found" / "1").mkdir(parents=True)
    (tmp_path / ".git" / "1").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    (tmp_path / "README.md").write_text("models")
    return tmp_path


def test_what_holds_nothing_of_a_model_is_left_out(store: Path) -> None:
    assert list(find_models([store])) == ["good"]
    assert other_entries(store) == [".git", "README.md", "docs", "empty", "lost+found"]
    assert "docs' holds no model" in why_no_model([store], "docs")
    assert why_no_model([store], "nothing") == ""


def test_the_log_names_what_is_left_out_once_for_each_start(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "hubserve"):
        plans = plan_stores(parse_settings({"model_store": [str(store)]}, "test"))
    assert [(plan.info.name, plan.error) for plan in plans] == [("good", "")]
    logged = [record.getMessage() for record in caplog.records if "skipped" in record.getMessage()]
    assert len(logged) == 1
    assert logged[0].endswith(".git, README.md, docs, empty, lost+found")


@pytest.mark.parametrize("file", ["model.onnx", "v1/model.onnx", "1/weights.bin", "first/model.py", "a/config.pbtxt"])
def test_a_model_that_is_laid_out_wrongly_is_reported_not_left_out(tmp_path: Path, file: str) -> None:
    path = tmp_path / "wrong" / file
    path.parent.mkdir(parents=True)
    path.write_text("")
    (plan,) = plan_stores(parse_settings({"model_store": [str(tmp_path)]}, "test"))
    assert "model 'wrong'" in plan.error


def test_a_configuration_in_the_folder_of_a_version_is_to_be_moved_up(tmp_path: Path) -> None:
    folder = write_scale(tmp_path, "low")
    (folder / "config.pbtxt").rename(folder / "1" / "config.pbtxt")
    (plan,) = plan_stores(parse_settings({"model_store": [str(tmp_path)]}, "test"))
    assert "Move it up, to '" in plan.error
    assert str(folder / "config.pbtxt") in plan.error


def test_the_folder_of_one_model_is_not_a_store(tmp_path: Path) -> None:
    folder = write_scale(tmp_path, "one")
    with pytest.raises(ConfigError, match="is the folder of one model. Give the folder above it") as raised:
        find_models([folder])
    assert str(tmp_path) in raised.value.message


def test_a_folder_that_is_not_a_model_cannot_be_requested(store: Path) -> None:
    raw = {"model_store": [str(store)], "model_control": "explicit", "load_model": ["docs"]}
    with pytest.raises(ConfigError, match="load_model names 'docs'.*holds no model"):
        plan_stores(parse_settings(raw, "test"))
