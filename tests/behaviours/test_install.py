"""What a user sees of installing, listing, showing, running and removing modules."""

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import MODULES, ROOT, hub, wait_for
from tests.unit.registry.toys import pack, tar_of, write_module


def test_a_module_lives_from_install_to_uninstall(home: Path, tmp_path: Path) -> None:
    installed = hub("install", MODULES / "shout", home=home)
    assert installed.returncode == 0, installed.stderr
    assert installed.stdout.startswith("Installed shout 1.0.0 (2 files, ")
    assert "importing it once" in installed.stderr
    assert "shout  1.0.0    paddlehub  Says it louder" in hub("list", home=home).stdout
    shown = hub("show", "shout", home=home).stdout
    for word in ("Says it louder", "POST /predict/shout", "hub run shout", str(home / "modules" / "shout" / "1.0.0"), "sha256:"):
        assert word in shown.replace("\n                ", "")
    assert hub("run", "shout", "hello", "world", home=home).stdout == "HELLO WORLD!\n"
    assert hub("install", MODULES / "shout", home=home).stdout.startswith("Replaced shout 1.0.0")
    removed = hub("uninstall", "shout", home=home)
    assert (removed.returncode, removed.stdout) == (0, "Removed shout 1.0.0\n")
    assert "No module is installed" in hub("list", home=home).stdout
    assert hub("uninstall", "shout", home=home).returncode == 1


def test_a_module_written_for_paddlehub_is_installed_from_an_archive_and_runs(home: Path, tmp_path: Path) -> None:
    archive = pack(tmp_path / "old_style.tar.gz", MODULES / "old_style", "w:gz", "old_style")
    installed = hub("install", archive, home=home)
    assert installed.returncode == 0, installed.stderr
    done = hub("run", "--json", "old-style==1.2.0", "abc", home=home)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0] == "cba"
    assert json.loads(done.stdout)[2:] == ["old-style", "1.2.0"]


def test_every_report_is_also_json(home: Path) -> None:
    installed = json.loads(hub("install", "--json", MODULES / "shout", home=home).stdout)
    assert (installed["name"], installed["version"], installed["replaced"]) == ("shout", "1.0.0", False)
    listed = json.loads(hub("list", "--json", home=home).stdout)["modules"]
    assert [each["digest"] for each in listed] == [installed["digest"]]
    shown = json.loads(hub("show", "shout==1.0.0", "--json", home=home).stdout)
    assert (shown["serving_method"], shown["runnable"], shown["versions"]) == ("shout", True, ["1.0.0"])
    assert shown["installed"]["source"] == str(MODULES / "shout")
    assert json.loads(hub("show", MODULES / "shout", "--json", home=home).stdout)["installed"] is None
    assert json.loads(hub("config", "--json", home=home).stdout)["home"] == str(home)
    assert set(json.loads(hub("clear", "--json", home=home).stdout)["freed_bytes"]) == {"cache", "tmp"}
    removed = json.loads(hub("uninstall", "shout", "--json", home=home).stdout)
    assert removed == {"removed": [{"name": "shout", "version": "1.0.0"}], "servers": []}
    assert "hubserve" in json.loads(hub("version", "--json", home=home).stdout)


def test_showing_and_listing_run_none_of_a_modules_code(home: Path, tmp_path: Path) -> None:
    proof = tmp_path / "it-ran"
    source = write_module(tmp_path / "toy", extra=f"open({str(proof)!r}, 'w')")
    assert hub("show", source, home=home).returncode == 0
    assert hub("install", "--no-check", source, home=home).returncode == 0
    assert hub("show", "toy", home=home).returncode == 0
    assert hub("list", home=home).returncode == 0
    assert hub("uninstall", "toy", home=home).returncode == 0
    assert not proof.exists()
    assert hub("install", source, home=home).returncode == 0
    assert proof.exists(), "an install does import it"


@pytest.mark.parametrize("words", [["--help"], ["-h", "--debug"], ["--", "--json", "--"], ["a b", "", "é", "==", "-x=1"]])
def test_every_word_behind_the_name_reaches_the_module_untouched(home: Path, tmp_path: Path, words: list[str]) -> None:
    source = write_module(tmp_path / "toy")
    (source / "module.py").write_text((source / "module.py").read_text().replace('" ".join(argv)', "argv"))
    done = hub("run", "--json", source, *words, home=home)
    assert json.loads(done.stdout) == words


def test_what_a_module_does_when_it_runs_becomes_the_exit_status(home: Path, tmp_path: Path) -> None:
    def run(line: str) -> "subprocess.CompletedProcess[str]":
        source = write_module(tmp_path / "toy")
        (source / "module.py").write_text((source / "module.py").read_text().replace('return " ".join(argv)', line))
        return hub("run", source, home=home)

    raised = run("raise ValueError('no good')")
    assert raised.returncode == 1
    assert "no good" in raised.stderr
    killed = run("import os; os.kill(os.getpid(), 11)")
    assert killed.returncode == 128 + 11
    assert "killed by SIGSEGV" in killed.stderr
    assert run("print('to stdout')").stdout == "to stdout\nNone\n"
    missing = hub("run", "nothing", home=home)
    assert missing.returncode == 1
    assert "hub install" in missing.stderr


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "gone", ["there is no"]),
        (lambda folder: tar_of(folder / "bad.tar", ("../escaped", b"x")), ["'../escaped'", "Repack"]),
        (lambda folder: tar_of(folder / "bad.tar", ("/tmp/hubserve-escaped", b"x")), ["absolute"]),
        (lambda folder: write_module(folder / "broken", extra="def broken(:"), ["module.py", "line 4"]),
        (lambda folder: write_module(folder / "toy", extra="import a_package_that_nobody_has"), ["a_package_that_nobody_has"]),
        (lambda folder: write_module(folder / "toy", version="../1"), ["version", "1.0.0"]),
    ],
)
def test_a_bad_source_is_refused_in_one_line_and_the_old_version_stays(home: Path, tmp_path: Path, make, words: list[str]) -> None:
    hub("install", "--no-check", write_module(tmp_path / "good"), home=home)
    done = hub("install", make(tmp_path), home=home)
    assert done.returncode == 1
    assert done.stdout == ""
    message = done.stderr.splitlines()[-1]
    assert message.startswith("hub: ")
    assert all(word in message for word in words), message
    assert "Traceback" not in done.stderr
    assert json.loads(hub("list", "--json", home=home).stdout)["modules"][0]["source"] == str(tmp_path / "good")
    assert not (tmp_path / "escaped").exists()
    assert not list((home / "tmp").iterdir())


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, -15), (signal.SIGKILL, -9)])
def test_an_install_that_is_stopped_while_it_imports_leaves_the_old_version(home: Path, tmp_path: Path, number: int, status: int) -> None:
    hub("install", write_module(tmp_path / "good", version="1.0.0"), home=home)
    proof = tmp_path / "importing"
    slow = write_module(tmp_path / "slow", extra=f"import time\nopen({str(proof)!r}, 'w')\ntime.sleep(20)")
    command = [sys.executable, "-m", "hubserve", "install", str(slow)]
    running = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "HUB_HOME": str(home)}, stderr=subprocess.PIPE)
    wait_for(proof.exists)
    running.send_signal(number)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == status
    assert b"Traceback" not in errors
    modules = json.loads(hub("list", "--json", home=home).stdout)["modules"]
    assert [each["source"] for each in modules] == [str(tmp_path / "good")]
    assert hub("install", "--no-check", write_module(tmp_path / "other", "other"), home=home).returncode == 0
    assert not list((home / "tmp").iterdir()), "what the killed one left is gone"


def test_ctrl_c_ends_a_running_module(home: Path, tmp_path: Path) -> None:
    proof = tmp_path / "running"
    source = write_module(tmp_path / "toy")
    text = (source / "module.py").read_text().replace('return " ".join(argv)', f"open({str(proof)!r}, 'w'); import time; time.sleep(60)")
    (source / "module.py").write_text(text)
    command = [sys.executable, "-m", "hubserve", "run", str(source)]
    running = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "HUB_HOME": str(home)}, stderr=subprocess.PIPE)
    wait_for(proof.exists)
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=60)
    assert running.returncode == 130


def test_on_a_terminal_a_bar_shows_how_far_it_is(home: Path, tmp_path: Path) -> None:
    source = write_module(tmp_path / "toy", weights__bin="w" * 4_000_000)
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "hubserve", "install", str(source)]
    running = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "HUB_HOME": str(home), "TERM": "xterm"}, stderr=theirs, stdout=subprocess.PIPE
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not chunk:
            break
        seen += chunk
    os.close(ours)
    out, _ = running.communicate(timeout=60)
    assert running.returncode == 0
    assert out.startswith(b"Installed toy 1.0.0 (3 files, 4.0 MB)")
    assert b"importing it once" in seen
    assert b"\x1b[" in seen
