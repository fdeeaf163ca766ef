"""The environments of the frameworks are there, and their Pythons are not the server's."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hubserve.registry.environments.environment_record import Environment
from tests.frameworks.home import PROFILES, FrameworkHome

PACKAGES = {"megengine": "megenginelite", "oneflow": "oneflow", "tensorflow": "tensorflow", "pytorch": "torch"}


@pytest.mark.parametrize("profile", PROFILES)
def test_the_framework_runs_in_its_environment(profile: str, frameworks: FrameworkHome, tmp_path: Path) -> None:
    script = tmp_path / "where.py"
    script.write_text(f"import json, sys, {PACKAGES[profile]} as it\nprint(json.dumps([sys.prefix, it.__file__]))\n")
    prefix, file = json.loads(frameworks.run(profile, script).splitlines()[-1])
    folder = frameworks.environment(profile).folder
    assert Path(prefix).resolve() == folder.resolve()
    assert Path(file).resolve().is_relative_to(folder.resolve())


def test_a_model_is_made_once(made: Callable[..., Path], environment: Callable[[str], Environment]) -> None:
    environment("megengine")
    folder = made("megengine", "megengine_model", "tiny")
    before = (folder / "model.mge").stat().st_mtime_ns
    assert made("megengine", "megengine_model", "tiny") == folder
    assert (folder / "model.mge").stat().st_mtime_ns == before
