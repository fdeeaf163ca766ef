"""The README's commands for each framework serve what they name."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.conftest import ROOT, Server
from tests.frameworks.digits import load_digits
from tests.frameworks.home import FrameworkHome
from tests.frameworks.models import MODELS, store
from tests.frameworks.tiinfer_scripts import script_folder

#: what the README names -> the model that stands there
PLACES = {"model.mge": "mge-tiny", "resnet50/model": "oneflow-tiny", "saved_model": "savedmodel", "model.pt2": "exported"}


def commands() -> list[list[str]]:
    """Return the words of each shown command, without its comment."""
    (block,) = re.findall(r"^```shell\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [line.partition("#")[0].split() for line in block.splitlines()]


@pytest.fixture(scope="module")
def place(frameworks: FrameworkHome, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write what the README names into a folder."""
    folder = tmp_path_factory.mktemp("readme")
    for name, model in PLACES.items():
        target, made = folder / name, MODELS[model].made(frameworks) / MODELS[model].stored
        target.parent.mkdir(parents=True, exist_ok=True)
        if made.is_dir():
            shutil.copytree(made, target)
        else:
            shutil.copyfile(made, target)
    script_folder(frameworks, load_digits(frameworks), "pytorch", "own", folder / "digits")
    store(frameworks, folder / "models", {name: MODELS[name] for name in PLACES.values()})
    return folder


def test_the_environment_is_built_by_the_shown_command(frameworks: FrameworkHome) -> None:
    frameworks.environment("megengine")
    (first, *_) = commands()
    assert first[:3] == ["hub", "env", "build"]
    environ = {**os.environ, "HUB_HOME": str(frameworks.folder)}
    done = subprocess.run([sys.executable, "-m", "hubserve", *first[1:]], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.startswith("Already built:")) == (0, True), done.stdout + done.stderr


@pytest.mark.parametrize("words", [each for each in commands() if each[1] == "serving"], ids=lambda words: words[-1])
def test_each_command_serves_what_it_names(words: list[str], place: Path, serving: Callable[..., Server]) -> None:
    assert words[:3] == ["hub", "serving", "start"]
    server = serving(*words[3:-1], place / words[-1])
    served = requests.get(f"{server.url}/status", timeout=30).json()["modules"]
    assert len(served) == (len(PLACES) if words[3] == "--model-store" else 1)
    assert all(each["instances"] for each in served)


def test_the_block_names_every_framework_that_has_an_environment() -> None:
    served = {words[-1] for words in commands() if words[1] == "serving"}
    assert served == {*PLACES, "digits", "models"}
