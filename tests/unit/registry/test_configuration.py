"""Settings in conf/config.json, which PaddleHub 1.x may have written too."""

import json
from pathlib import Path

import pytest

from hubserve.errors import ConfigError
from hubserve.registry import configuration
from hubserve.registry.configuration import DEFAULTS, InstallSettings, change, config_file, install_settings, load, reset


def write(home: Path, content: str) -> Path:
    path = config_file(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert install_settings(tmp_path) == InstallSettings()
    assert set(DEFAULTS) == {f"install.{key}" for key in InstallSettings._fields}


def test_a_change_is_kept_and_reset_goes_back(tmp_path: Path) -> None:
    change(tmp_path, "install.max_files", "7")
    change(tmp_path, "install.check_timeout_s", 9)
    assert install_settings(tmp_path) == InstallSettings(max_files=7, check_timeout_s=9)
    reset(tmp_path)
    assert install_settings(tmp_path) == InstallSettings()


@pytest.mark.parametrize(("value", "meant"), [("true", True), ("True", True), (True, True), ("false", False), (False, False)])
def test_a_switch_is_true_or_false(tmp_path: Path, value: object, meant: bool) -> None:
    change(tmp_path, "install.allow_http", value)
    assert install_settings(tmp_path).allow_http is meant
    for wrong in ("1", "yes", 1, "", None):
        with pytest.raises(ConfigError, match="true or false"):
            change(tmp_path, "install.allow_http", wrong)


def test_the_keys_of_paddlehub_are_left_alone(tmp_path: Path) -> None:
    theirs = {"server_url": ["http://example.invalid"], "debug": False, "log_level": "DEBUG"}
    path = write(tmp_path, json.dumps(theirs))
    change(tmp_path, "install.max_files", 7)
    assert json.loads(path.read_text()) == {**theirs, "install": {"max_files": 7}}
    reset(tmp_path)
    assert json.loads(path.read_text()) == theirs


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not valid JSON"),
        ("[]", "JSON object"),
        ('{"instal": {}}', "did you mean 'install'"),
        ('{"install": 3}', "must be an object"),
        ('{"install": {"max_fils": 3}}', "did you mean 'install.max_files'"),
        ('{"install": {"max_files": 0}}', "whole number from 1 up"),
        ('{"install": {"max_files": true}}', "whole number"),
        ('{"install": {"max_files": "many"}}', "whole number"),
        ('{"install": {"max_files": 1.5}}', "whole number"),
    ],
)
def test_a_wrong_file_is_refused_with_the_key_and_what_was_meant(tmp_path: Path, content: str, words: str) -> None:
    write(tmp_path, content)
    with pytest.raises(ConfigError, match=words):
        load(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"), [("max_files", "1"), ("install.max_fils", "1"), ("install.max_files", "-1"), ("install.max_files", "")]
)
def test_a_wrong_change_leaves_the_file_as_it_was(tmp_path: Path, key: str, value: str) -> None:
    change(tmp_path, "install.max_files", 7)
    before = config_file(tmp_path).read_bytes()
    with pytest.raises(ConfigError):
        configuration.change(tmp_path, key, value)
    assert config_file(tmp_path).read_bytes() == before
