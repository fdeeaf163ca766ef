"""``hub doctor`` as its users see it."""

import json
import sys
from pathlib import Path

import pytest

from tests.conftest import MODULES, ROOT, Start, free_port, hub, toy
from tests.triton_models import scale


def test_a_machine_in_order_has_no_errors_and_its_home_stays_untouched(home: Path) -> None:
    done = hub("doctor", home=home)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "\nnote     openvino\n" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("0 errors, ")
    assert not home.exists()


def test_errors_are_exit_status_1_and_json_has_every_field(home: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"modules_info": {"shout": {**toy("shout"), "workrs": 1}}, "port": free_port()}))
    done = hub("doctor", config, "--json", "--quiet", home=home)
    assert done.returncode == 1
    assert json.loads(done.stdout)["findings"] == [
        {
            "level": "error",
            "about": "modules_info.shout.workrs",
            "reason": "unknown key 'modules_info.shout.workrs'; did you mean 'workers'?",
            "fix": "Rename, fix or remove the key",
            "file": str(config),
        }
    ]


def test_people_read_what_where_why_and_what_to_do(home: Path) -> None:
    done = hub("doctor", "nowhere", home=home)
    assert done.returncode == 1
    assert done.stdout == (
        "error    nowhere\n"
        "         no module 'nowhere' is installed. Nothing is installed yet\n"
        "         -> Install one with: hub install FOLDER_OR_ARCHIVE\n"
        "1 error, 0 warnings, 0 notes\n"
    )


def test_a_module_is_loaded_and_asked_only_with_load(home: Path) -> None:
    assert "load" not in hub("doctor", MODULES / "doubler", home=home).stdout
    done = hub("doctor", MODULES / "doubler", "--load", home=home)
    assert done.returncode == 0
    assert "it loads in " in done.stdout
    assert 'a synthetic input (picture) was answered: {"y":[[254.0,254.0,254.0]],"together":1}' in done.stdout


def test_a_module_that_cannot_be_asked_is_told_to_load(home: Path) -> None:
    done = hub("doctor", MODULES / "shout", "--load", home=home)
    assert done.returncode == 0
    assert "no request was sent" in done.stdout


@pytest.mark.parametrize(
    ("line", "level", "says"),
    [
        ("raise RuntimeError('no licence')", "error", "no licence"),
        ("import os; os._exit(3)", "error", "exited with status 3"),
    ],
)
def test_a_module_that_does_not_load_is_an_error(home: Path, tmp_path: Path, line: str, level: str, says: str) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "module.py").write_text((MODULES / "shout" / "module.py").read_text() + f"\n{line}\n")
    assert hub("doctor", folder, home=home).returncode == 0, "none of its code is run"
    done = hub("doctor", folder, "--load", "--json", home=home)
    assert done.returncode == 1
    found = json.loads(done.stdout)["findings"][0]
    assert (found["level"], found["about"], says in found["reason"]) == (level, "load", True)


def test_a_module_that_fails_at_a_made_up_input_is_a_warning(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "picky"
    folder.mkdir()
    source = (MODULES / "doubler" / "module.py").read_text()
    (folder / "module.py").write_text(source.replace('return {"y": y', "raise ValueError('I am picky')\n        return {\"y\": y"))
    done = hub("doctor", folder, "--load", home=home)
    assert done.returncode == 0
    assert "a synthetic input (picture) failed: I am picky" in done.stdout


def test_every_module_of_a_configuration_is_loaded_unless_there_are_errors(home: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    modules = {"shout": toy("shout"), "doubler": toy("doubler")}
    config.write_text(json.dumps({"modules_info": modules, "port": free_port()}))
    assert hub("doctor", config, "--load", home=home).stdout.count("it loads in ") == 2
    config.write_text(json.dumps({"modules_info": {**modules, "nowhere": {}}, "port": free_port()}))
    done = hub("doctor", config, "--load", home=home)
    assert done.returncode == 1
    assert "not attempted, because of the errors" in done.stdout


def test_a_server_that_runs_is_a_note_on_the_machine_and_in_its_configuration(start: Start, home: Path, tmp_path: Path) -> None:
    server = start({"shout": toy("shout")})
    said = f"(pid {server.process.pid})"
    done = hub("doctor", tmp_path / f"config-{server.port}.json", home=home)
    assert (done.returncode, f"hub already serves shout on port {server.port} {said}" in done.stdout) == (0, True)
    assert f"note     port {server.port}\n         hub serves shout there {said}" in hub("doctor", home=home).stdout


def test_load_without_a_module_says_what_it_needs(home: Path) -> None:
    done = hub("doctor", "--load", home=home)
    assert (done.returncode, "hub doctor --load NAME" in done.stderr) == (1, True)


def test_a_modules_words_do_not_steer_the_terminal(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "rude"
    folder.mkdir()
    (folder / "module.py").write_text((MODULES / "shout" / "module.py").read_text())
    (folder / "requirements.txt").write_text("\x1b[31m what is this")
    done = hub("doctor", folder, home=home)
    assert done.returncode == 1
    assert "\x1b" not in done.stdout


def test_the_classifier_is_in_order(home: Path, model_dir: Path) -> None:
    hub("install", ROOT / "hubmodules" / "clas", home=home)
    done = hub("doctor", "clas_system", home=home)
    assert (done.returncode, "are complete" in done.stdout) == (0, True)
    assert "0 errors, 0 warnings" in done.stdout, sys.executable


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("net.onnx", None, "note     NET: model"),
        ("x.npy", b"\x93NUMPY\x01\0", "it is a file, and not a model that can be served here"),
        ("module.py", b"x = (", "'(' was never closed"),
        ("server.conf", b'{"prot": 1}', "unknown key 'prot'"),
    ],
)
def test_a_file_is_examined_as_what_it_is(home: Path, tmp_path: Path, name: str, content: "bytes | None", says: str) -> None:
    path = tmp_path / name
    if content is None:
        scale(path)
    else:
        path.write_bytes(content)
    done = hub("doctor", path, home=home)
    assert (done.stderr, done.returncode) == ("", int(content is not None))
    assert says.replace("NET", str(path)) in done.stdout
