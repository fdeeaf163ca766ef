"""The start of a server with and without keys: what its log warns of."""

from pathlib import Path
from typing import Any

import pytest

from tests.behaviours.access.keys import add_key
from tests.conftest import Start, toy


@pytest.mark.parametrize(
    ("settings", "said", "unsaid"),
    [
        ({"host": "0.0.0.0"}, "ANYONE who can reach", "unencrypted"),
        ({"host": "0.0.0.0", "access_keys": "keys.json"}, "unencrypted", "ANYONE"),
        ({}, "", "ANYONE"),
        ({"access_keys": "keys.json"}, "", "unencrypted"),
    ],
)
def test_an_open_server_says_so_loudly(start: Start, tmp_path: Path, settings: dict[str, Any], said: str, unsaid: str) -> None:
    add_key(tmp_path / "keys.json", "any", ("*",))
    log = start({"shout": toy("shout")}, **settings).log.read_text()
    assert said in log
    assert unsaid not in log


def test_a_server_without_its_file_of_keys_does_not_start(start: Start, tmp_path: Path) -> None:
    server = start({"shout": toy("shout")}, access_keys="keys.json", wait=False)
    assert server.process.wait(60) == 1
    assert "hub access create" in server.log.read_text()
    assert "Traceback" not in server.log.read_text()
