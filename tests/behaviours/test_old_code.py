"""Modules written years ago, each with one kind of trouble, are installed and served as they are."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MODULES, Server, hub, servers, wait_for

FOLDER = MODULES / "old_code"
#: each module, its request and its answer; pictures have a test of their own
ANSWERS: dict[str, tuple[dict[str, Any], Any]] = {
    "old_numbers": ({"values": [1, 2, 3]}, [[[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]], 6, True, 3, [True, False, False]]),
    "old_drawing": ({"text": "wide text"}, {"size": [32, 16], "is_wide": True, "same": True}),
    "old_python": ({"data": {"a": 1}}, [True, True, ["self", "data"], ["b", "c"], True, True]),
    "old_settings": ({}, {"size": [3, 224, 224], "mean": 0.5}),
    "old_six": ({"texts": ["ab", "c"]}, 3),
    "old_lazy": ({"count": 5}, 2),
    "old_bytes": ({"text": "ab"}, {"data": "YWI=\n", "again": "ab"}),
    "old_marked": ({}, "café"),
    "old_neighbour": ({"values": [2, 5]}, [10, "OldPython"]),
    "old_folders": ({}, ["first", "second", "cat", 3]),
    "old_processes": ({"values": [1, 2]}, [1.0, 2.0]),
    "old_layers": ({"size": 8}, [[1, 2, 2, 2], [1, 2, 1, 1]]),
}


@pytest.fixture(scope="module")
def installed_home(shared_home: Path) -> Path:
    """Install them all, in the order of their names and again: one imports others."""
    for _ in range(2):
        done = hub("import-paddlehub", FOLDER, home=shared_home)
    assert done.returncode == 0, done.stdout + done.stderr
    return shared_home


@pytest.fixture(scope="module")
def server(installed_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers(installed_home, tmp_path_factory.mktemp("old")) as start:
        yield start({name: {"workers": 1} for name in ("old_pictures", *ANSWERS)})


@pytest.mark.parametrize("name", ANSWERS)
def test_it_answers_as_it_did(server: Server, name: str) -> None:
    arguments, answer = ANSWERS[name]
    assert server.results(name, **arguments) == answer


def test_pictures_go_in_and_out_as_bytes_of_strings(server: Server, cat_photo: Path) -> None:
    picture = base64.b64encode(cat_photo.read_bytes()).decode()
    (answer,) = server.results("old_pictures", images=[picture])
    assert answer["height"] == 300
    assert base64.b64decode(answer["data"])[:4] == b"\x89PNG"


def test_the_log_tells_each_old_name_once_with_its_place(server: Server) -> None:
    for _ in range(2):
        server.results("old_drawing", text="text")
    logged = wait_for(lambda: [line for line in server.log.read_text().splitlines() if "no longer has PIL.Image.ANTIALIAS" in line])
    assert len(logged) == 1
    assert re.search(r"/old_drawing/\S*/module\.py, line \d+: PIL [0-9.]+ no longer has", logged[0])


def test_a_setting_leaves_old_names_removed(installed_home: Path, tmp_path: Path) -> None:
    with servers(installed_home, tmp_path) as start:
        server = start({"old_bytes": {"workers": 1}}, old_names=False)
        answer = server.predict("old_bytes", json={"text": "ab"}).json()
        assert answer["status"] == "101"
        assert "has no attribute 'encodestring'" in answer["msg"]


def test_the_command_line_runs_them_too(installed_home: Path) -> None:
    folder = installed_home / "old_command"
    folder.mkdir()
    (folder / "module.py").write_text(
        "import numpy as np\nfrom paddlehub.module.module import moduleinfo, runnable\n\n\n"
        '@moduleinfo(name="old_command", version="1.0.0")\nclass OldCommand:\n    @runnable\n    def run_cmd(self, argv):\n'
        "        return np.asscalar(np.fromstring(b'\\x07', np.uint8))\n"
    )
    done = hub("run", folder, home=installed_home)
    assert json.loads(done.stdout) == 7, done.stderr
