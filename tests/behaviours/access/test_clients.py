"""hubserve's own clients send keys."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hubserve.client import Client, ServerError
from hubserve.errors import ConfigError
from tests.behaviours.access.conftest import Guarded
from tests.behaviours.access.keys import add_key, remove_keys
from tests.conftest import ROOT, Start, hub, toy, wait_for


def test_the_python_client_sends_a_key_given_or_of_the_environment(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{guarded.url}/predict/shout"
    with Client(url) as client, pytest.raises(ServerError, match="needs a key") as raised:
        client.call(text="a")
    assert raised.value.http_status == 401
    with Client(url, api_key=guarded.keys["shout"]) as client:
        assert client.call(text="a") == "A!"
    monkeypatch.setenv("HUB_API_KEY", guarded.keys["shout"] + "\n")
    with Client(url) as client:
        assert client.call(text="b") == "B!"
    with Client(url, api_key="") as client, pytest.raises(ServerError, match="needs a key"):
        client.call(text="a")
    for wrong in ("hsk_a b", "hsk_a\r\nX-Other: 1", "hsk_\u00e9"):
        with pytest.raises(ConfigError, match="cannot be an API key") as refused:
            Client(url, api_key=wrong)
        assert wrong not in str(refused.value)


def test_hub_bench_sends_a_key_and_finds_its_own_servers_modules_without_one_of_an_admin(guarded: Guarded) -> None:
    words = [
        "bench",
        "shout",
        "--data",
        '{"text": "a"}',
        "-p",
        guarded.server.port,
        "--seconds",
        "0.2",
        "--rounds",
        "1",
        "--connections",
        "1",
    ]
    own, key = guarded.server.home, guarded.keys["shout"]
    measured = hub(*words, "--no-raw", "--json", "--api-key", key, home=own)
    assert measured.returncode == 0, measured.stderr
    assert json.loads(measured.stdout)["steps"][0]["errors"] == []
    assert "hsk_" not in measured.stdout
    missing = hub(*words, "--no-raw", home=own)
    assert missing.returncode == 1
    assert "needs a key" in missing.stderr


def test_hub_bench_and_status_elsewhere_need_a_key_of_an_admin(guarded: Guarded, home: Path) -> None:
    status = ["serving", "status", "-p", guarded.server.port]
    refused = hub(*status, home=home)
    assert "needs a key" in refused.stderr
    shown = hub(*status, "--api-key", guarded.keys["admin"], home=home)
    assert shown.returncode == 0, shown.stderr
    assert "shout" in shown.stdout
    of_environment = hub(*status, "--json", home=home, environ={"HUB_API_KEY": guarded.keys["everything"]})
    assert "pb_bls" in {each["name"] for each in json.loads(of_environment.stdout)["modules"]}
    bench = ["bench", "shout", "--data", '{"text": "a"}', "-p", guarded.server.port, "--seconds", "0.2", "--rounds", "1", "--no-raw"]
    assert "does not report its modules" in hub(*bench, "--api-key", guarded.keys["shout"], home=home).stderr
    assert hub(*bench, "--connections", "1", home=home, environ={"HUB_API_KEY": guarded.keys["everything"]}).returncode == 0


def test_the_classification_client_sends_a_key(guarded: Guarded, cat_photo: Path) -> None:
    url = f"{guarded.url}/predict/shout"  # which refuses pictures, but only those of a client with a key
    words = [sys.executable, str(ROOT / "tools" / "test_client.py"), "--server_url", url, "--image_file", str(cat_photo)]
    said = [
        subprocess.run([*words, *more], capture_output=True, text=True, check=False, timeout=60).stderr
        for more in ([], ["--api_key", guarded.keys["shout"]])
    ]
    assert "needs a key" in said[0]
    assert "needs a key" not in said[1]
    assert "status 101" in said[1]


def test_reload_reads_the_file_of_keys_at_once_and_reports_a_broken_one(start: Start, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    add_key(file, "one", ("*",))
    server = start({"shout": toy("shout")}, access_keys="keys.json")
    content = file.read_bytes()
    file.write_text("nothing")
    broken = hub("serving", "reload", "-p", server.port, home=server.home)
    assert broken.returncode == 1
    assert "cannot be used" in broken.stderr
    file.write_bytes(content)
    remove_keys(file, "one")
    assert hub("serving", "reload", "-p", server.port, home=server.home).returncode == 0
    assert wait_for(lambda: "1 revoked" in server.log.read_text())
