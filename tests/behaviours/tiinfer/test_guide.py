"""docs/tiinfer.md, followed with its own script and commands."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.behaviours.tiinfer.conftest import SCRIPTS
from tests.conftest import ROOT, Server, Start, hub

PAGE = (ROOT / "docs" / "tiinfer.md").read_text("utf-8")
#: commands with the line that they print
COMMANDS = re.findall(r"^\$ (curl .*doubler.*)\n(.+)$", PAGE, re.MULTILINE)


@pytest.fixture
def doubler(tmp_path: Path) -> Path:
    """The folder with the page's script."""
    folder = tmp_path / "scripts" / "any_name"
    folder.mkdir(parents=True)
    (folder / "model_service.py").write_text(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)[0])
    (folder / "factor.txt").write_text("2\n")
    return folder


def run_commands(server: Server) -> None:
    assert len(COMMANDS) == 2
    for command, printed in COMMANDS:
        words = [each.replace("localhost:8866", f"127.0.0.1:{server.port}") for each in shlex.split(command)]
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
        assert json.loads(done.stdout) == json.loads(printed)


def test_the_pages_script_answers_its_commands(doubler: Path, home: Path, start: Start) -> None:
    done = hub("install", doubler, home=home)
    assert done.returncode == 0, done.stderr
    server = start({"doubler": {}})
    run_commands(server)
    assert len(server.instance_pids("doubler")) == 2
    done = hub("run", "doubler", '{"numbers": [1]}', home=home)
    assert json.loads(done.stdout) == {"result": [2.0]}


def test_a_folder_is_served_under_another_name(doubler: Path, home: Path, tmp_path: Path) -> None:
    from tests.frameworks.servers import command_lines

    with command_lines(home, tmp_path) as serving:
        server = serving("-m", f"seven={doubler}", "-m", SCRIPTS / "chain")
        assert server.results("seven", numbers=[2]) == {"result": [4.0]}
        assert server.results("chain", numbers=[2])["result"]["first"] == 4


@pytest.mark.parametrize("settings", [json.loads(each) for each in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)])
def test_the_pages_settings_are_valid(settings: dict, doubler: Path, start: Start) -> None:
    (entry,) = settings["modules_info"].values()
    server = start({"doubler": {**entry, "init_args": {"directory": str(doubler)}}})
    assert server.status("doubler")["ready"]


def test_an_empty_body_is_answered_as_the_page_says(doubler: Path, start: Start) -> None:
    server = start({"doubler": {"init_args": {"directory": str(doubler)}}})
    assert server.predict("doubler", data=b"", headers={"Content-Type": "application/json"}).status_code == 400
