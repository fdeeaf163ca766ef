"""A guide of a classification project, followed from its first line to its last, with a project of that make.

The module's code needs ``six``, names that numpy, PyYAML and Paddle removed, and ``python.predict_cls`` and ``utils.config`` of the project
around it. Nothing but hubserve's own installation is there.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MODULES, Server, free_port, hub, share_engine_cache

NAME = "guide_clas"


@pytest.fixture(scope="module")
def deploy(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Path:
    """The project as its guide has it: cloned, with a model in ``inference/``; the folder in which the guide's commands run."""
    project = tmp_path_factory.mktemp("guide") / "GuideClas"
    shutil.copytree(MODULES / "guide", project)
    (project / "inference").mkdir()
    for name in ("inference.pdmodel", "inference.pdiparams", "imagenet1k_label_list.txt"):
        (project / "inference" / name).symlink_to(model_dir / name)
    return project / "deploy"


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, cat_photo: Path) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for name in ("cat.png", "cat_again.png", "third.png"):
        shutil.copy(cat_photo, folder / name)
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, engine_cache: Path) -> Path:
    return share_engine_cache(tmp_path_factory.mktemp("home"), engine_cache)


@pytest.fixture(scope="module")
def installed(deploy: Path, home: Path) -> None:
    done = hub("install", "serving/clas/", home=home, cwd=deploy)
    assert done.returncode == 0, done.stderr
    assert f"Installed {NAME} 1.0.0" in done.stdout
    assert "in this Python" in done.stdout or "environment" not in done.stdout, "it needs no environment of its own"


@contextlib.contextmanager
def served(cwd: Path, home: Path, log: Path, *words: str, port: int) -> Iterator[Server]:
    """A server, started by the guide's command in its folder."""
    server = Server(list(words), port, home, log, cwd)
    try:
        yield server.wait_until_ready()
    finally:
        if server.process.poll() is None:
            server.stop()


def ask(server: Server, deploy: Path, photos: Path) -> list[str]:
    url = f"{server.url}/predict/{NAME}"
    words = [sys.executable, "serving/ask.py", "--server_url", url, "--image_file", str(photos), "--batch_size", "2"]
    done = subprocess.run(words, cwd=deploy, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr + server.log.read_text()
    assert re.search(r"^The average time of prediction cost: \d+\.\d{3} s/image$", done.stdout, re.M)
    return [line for line in done.stdout.splitlines() if line.startswith("File:")]


@pytest.mark.usefixtures("installed")
def test_the_command_line_starts_it_and_the_guides_client_is_answered(deploy: Path, home: Path, photos: Path, tmp_path: Path) -> None:
    port = free_port()
    with served(deploy, home, tmp_path / "log", "--modules", NAME, "--port", str(port), port=port) as server:
        lines = ask(server, deploy, photos)
        assert [line.partition(",")[0] for line in lines] == ["File:cat.png", "File:cat_again.png", "File:third.png"]
        for line in lines:
            assert "class_ids: [285, " in line
            assert "label_names: ['Egyptian cat'" in line
        stopped = hub("serving", "stop", "--port", port, home=home, cwd=deploy)
        assert stopped.returncode == 0, stopped.stderr
        assert server.process.wait(60) == 0
        log = server.log.read_text()
    for name in ("numpy.fromstring", "paddle.inference.Config", "yaml.load"):
        assert log.count(f"no longer has {name};") == 1, log


@pytest.mark.usefixtures("installed")
def test_its_config_file_starts_it_and_its_imports_are_found_from_any_folder(
    deploy: Path, home: Path, photos: Path, tmp_path: Path
) -> None:
    # the paths of the module's own params.py are relative to where the server starts, as they are with PaddleHub
    (tmp_path / "here").mkdir()
    (tmp_path / "inference").symlink_to(deploy.parent / "inference")
    port = free_port()
    config = json.loads((deploy / "serving" / "clas" / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "port": port}))
    with served(tmp_path / "here", home, tmp_path / "log", "-c", str(tmp_path / "config.json"), port=port) as server:
        assert len(ask(server, deploy, photos)) == 3


@pytest.mark.usefixtures("installed")
def test_the_module_is_changed_tried_as_a_script_and_installed_again(
    deploy: Path, home: Path, photos: Path, cat_photo: Path, tmp_path: Path
) -> None:
    params = deploy / "serving" / "clas" / "params.py"
    params.write_text(params.read_text().replace('"topk": 5', '"topk": 2'))
    words = [sys.executable, "-m", "hubserve.compat", "serving/clas/module.py", str(cat_photo)]
    environ = {**os.environ, "HUB_HOME": str(home)}
    tried = subprocess.run(words, cwd=deploy, env=environ, capture_output=True, text=True, check=False, timeout=120)
    assert tried.returncode == 0, tried.stderr
    assert f"The returned result of {cat_photo}: {{'prediction': [{{'class_ids': [285, " in tried.stdout
    removed = hub("uninstall", NAME, home=home, cwd=deploy)
    assert (removed.returncode, removed.stdout) == (0, f"Removed {NAME} 1.0.0\n")
    again = hub("install", "serving/clas/", home=home, cwd=deploy)
    assert again.returncode == 0, again.stderr
    port = free_port()
    with served(deploy, home, tmp_path / "log", "-m", NAME, "-p", str(port), port=port) as server:
        (line, *_) = ask(server, deploy, photos)
        assert re.search(r"class_ids: \[285, \d+\],", line)
