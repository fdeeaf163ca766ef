"""The examples of CONTRIBUTING.md, added to a copy of the package as they stand there, and used."""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from openapi_spec_validator import OpenAPIV30SpecValidator, validate

from tests.conftest import MODULES, ROOT, free_port, wait_for
from tests.openapi_requests import example_requests

_BLOCK = re.compile(r"^```python\n# (hubserve/\S+\.py)(?:: (\w+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a copy of hubserve that has every example."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(ROOT / "hubserve", folder / "hubserve", ignore=shutil.ignore_patterns("__pycache__"))
    add_examples(folder)
    return folder


def add_examples(folder: Path) -> None:
    """Add every example to a copy of the package; one that a reader has already added is replaced."""
    for name, table, text in _BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text("utf-8")):
        path = folder / name
        path.write_text(with_row(path.read_text("utf-8"), table, text) if table else text.lstrip("\n"), "utf-8")


def with_row(source: str, table: str, row: str) -> str:
    """Put a row at the beginning of a table, which may be a dict or a tuple, on one line or on many."""
    source = source.replace(f"\n{row}", "\n")
    changed, count = re.subn(rf"^({table}\b[^\n]*?= [{{(])\n?", lambda found: f"{found[1]}\n{row}", source, flags=re.MULTILINE)
    assert count == 1, f"no table {table}"
    return changed


def environ(package: Path, home: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(package), "HUB_HOME": str(home)}


def hub(package: Path, home: Path, *arguments: object, status: int = 0) -> str:
    command = [sys.executable, "-m", "hubserve", *map(str, arguments)]
    done = subprocess.run(command, env=environ(package, home), cwd=package, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == status, done.stderr
    return done.stderr if status else done.stdout


def test_examples_that_a_reader_has_added_already_are_replaced(package: Path, tmp_path: Path) -> None:
    shutil.copytree(package / "hubserve", tmp_path / "hubserve", ignore=shutil.ignore_patterns("__pycache__"))
    before = {path: path.read_text("utf-8") for path in tmp_path.rglob("*.py")}
    add_examples(tmp_path)
    assert {path: path.read_text("utf-8") for path in tmp_path.rglob("*.py")} == before


@pytest.fixture(scope="module")
def url(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server of the copy: a linear model, an installed table, and a module that a link names."""
    folder, port = tmp_path_factory.mktemp("served"), free_port()
    home = folder / "home"
    np.savez(folder / "linear.npz", weights=np.array([[1, 2], [3, 4], [5, 6]]), bias=np.array([0.5, -0.5]))
    table = folder / "capitals"
    table.mkdir()
    (table / "lookup.json").write_text(json.dumps({"name": "capitals", "version": "1.0.0", "table": {"Kenya": "Nairobi"}}))
    (folder / "shout.link").write_text(f"{MODULES / 'shout'}\n")
    assert "Installed capitals 1.0.0" in hub(package, home, "install", table)
    assert "Installed shout 1.0.0" in hub(package, home, "install", folder / "shout.link")
    assert "lookup" in hub(package, home, "list")
    command = [sys.executable, "-m", "hubserve", "serving", "start", "-m", "capitals", "shout", str(folder / "linear.npz"), "-p", str(port)]
    log = folder / "log"
    with log.open("w") as output:
        server = subprocess.Popen(command, env=environ(package, home), cwd=package, stdout=output, stderr=output)
    address = f"http://127.0.0.1:{port}"

    def is_ready() -> bool:
        assert server.poll() is None, log.read_text()
        try:
            return requests.get(f"{address}/health/ready", timeout=10).status_code == 200
        except requests.ConnectionError:
            return False

    try:
        wait_for(is_ready)
        yield address
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0, log.read_text()
    finally:
        server.kill()
        server.wait(60)


def test_the_engine_computes_its_files_and_says_what_is_wrong(url: str, package: Path) -> None:
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 3], "data": [1, 1, 1, 1, 0, 0]}
    answer = requests.post(f"{url}/v2/models/linear/infer", json={"inputs": [tensor]}, timeout=60).json()
    assert [(each["name"], each["shape"], each["data"]) for each in answer["outputs"]] == [("y", [2, 2], [9.5, 11.5, 1.5, 1.5])]
    short = {**tensor, "shape": [2, 2], "data": [1, 1, 1, 1]}
    assert requests.post(f"{url}/v2/models/linear/infer", json={"inputs": [short]}, timeout=60).status_code == 400


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        (None, "is not an archive that numpy.savez wrote, or is cut short. Save it again."),
        ({"weights": np.zeros(3), "bias": np.zeros(2)}, "the linear engine cannot load linear.npz"),
        ({"weights": np.array([None]), "bias": np.zeros(2)}, "the linear engine cannot load linear.npz"),
    ],
    ids=["junk", "another shape", "a pickle"],
)
def test_the_engine_refuses_other_files_in_one_sentence(
    package: Path, tmp_path: Path, arrays: "dict[str, np.ndarray] | None", says: str
) -> None:
    path = tmp_path / "linear.npz"
    if arrays is None:
        path.write_bytes(b"junk")
    else:
        np.savez(path, **arrays)
    printed = hub(package, tmp_path / "home", "run", path, "--inputs", '{"x": [[1, 2, 3]]}', status=1)
    assert says in printed
    assert "Traceback" not in printed
    assert "unsafely" not in printed


def test_refusals_of_other_files_list_the_new_ending(package: Path, tmp_path: Path) -> None:
    (tmp_path / "x.npy").touch()
    assert "*.npz" in hub(package, tmp_path / "home", "show", tmp_path / "x.npy", status=1)


def test_the_kind_has_no_command_line(package: Path, tmp_path: Path) -> None:
    table = tmp_path / "capitals"
    table.mkdir()
    (table / "lookup.json").write_text(json.dumps({"name": "capitals", "version": "1.0.0", "table": {}}))
    assert "modules of its kind have no command line" in hub(package, tmp_path / "home", "run", table, status=1)


def test_the_kind_is_served_by_every_protocol(url: str) -> None:
    answer = requests.post(f"{url}/predict/capitals", json={"key": "Kenya"}, timeout=60).json()
    assert answer == {"status": "000", "msg": "", "results": "Nairobi"}
    assert "there is no key 'Chad'; there are Kenya" in requests.post(f"{url}/predict/capitals", json={"key": "Chad"}, timeout=60).text


@pytest.mark.parametrize(
    ("path", "body", "status", "answer"),
    [
        ("capitals", '{"key": "Kenya"}', 200, "Nairobi"),
        ("shout", '{"text": "hello"}', 200, "HELLO!"),
        ("capitals", "[1]", 400, {"error": "the body must be a JSON object of arguments"}),
        ("nowhere", "{}", 404, None),
    ],
)
def test_the_protocol_answers(url: str, path: str, body: str, status: int, answer: object) -> None:
    got = requests.post(f"{url}/toy/{path}", data=body, timeout=60)
    assert got.status_code == status, got.text
    assert got.json() == answer if answer else "error" in got.json()


def test_the_protocol_and_the_kind_describe_themselves(url: str) -> None:
    document = requests.get(f"{url}/openapi.json", timeout=60).json()
    validate(document, cls=OpenAPIV30SpecValidator)
    sent = {
        each.path: each.send(url)
        for each in example_requests(document)
        if each.path in ("/toy/capitals", "/toy/shout", "/predict/capitals")
    }
    assert {path: answer.status_code for path, answer in sent.items()} == dict.fromkeys(sent, 200)
    assert len(sent) == 3
    assert sent["/toy/capitals"].json() == "Nairobi"


def test_the_protocol_answers_limits_with_the_statuses_of_predict(url: str) -> None:
    late = requests.post(f"{url}/toy/shout", data='{"text": "hello"}', headers={"X-Hub-Timeout-Ms": "0.001"}, timeout=60)
    assert (late.status_code, late.headers["content-type"]) == (504, "application/json")
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    connection.putrequest("POST", "/toy/shout")
    connection.putheader("Content-Length", str(1 << 40))
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_the_protocol_takes_post_only(url: str) -> None:
    assert requests.get(f"{url}/toy/shout", timeout=60).status_code == 400


def test_the_command_runs_and_is_listed(package: Path, tmp_path: Path) -> None:
    assert hub(package, tmp_path, "where") == f"{tmp_path}\n"
    assert json.loads(hub(package, tmp_path, "where", "--json")) == {"home": str(tmp_path)}
    assert "\n  where" in hub(package, tmp_path, "help")


def test_the_examples_keep_the_rules_that_the_page_names(package: Path) -> None:
    shutil.copy(ROOT / "pyproject.toml", package)
    names = [str(package / name) for name, table, _ in _BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text("utf-8")) if not table]
    assert len(names) == 5
    for command in (["check"], ["format", "--check"]):
        ruff = [str(Path(sys.executable).with_name("ruff")), *command, *names]
        done = subprocess.run(ruff, cwd=package, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
