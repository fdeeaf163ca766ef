"""Taking back, verifying and removing what running servers serve."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hubserve.registry.installer import Installer
from tests.behaviours.test_swap import install, load
from tests.conftest import ROOT, Start, hub, toy, wait_for
from tests.unit.registry.toys import strays

__all__ = ["install"]  # a fixture


def test_a_rollback_moves_the_traffic_back_and_loses_no_request(install, start: Start, home: Path) -> None:  # type: ignore[no-untyped-def]
    install("1.0.0")
    server = start({"teller": {}})
    assert install("1.1.0").returncode == 0
    with load(server) as answers:
        wait_for(lambda: len(answers) > 8)
        done = hub("rollback", "teller", home=home)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.splitlines() == [
            "teller means 1.0.0 again, not 1.1.0",
            f"server on port {server.port}: teller 1.0.0 answers now, in place of 1.1.0",
        ]
        at_swap = len(answers)
        wait_for(lambda: len(answers) > at_swap + 20)
    assert [each for each in answers if "error" in each] == []
    assert {each["version"] for each in answers[at_swap + 8 :]} == {"1.0.0"}
    assert "1.0.0 (current)" in hub("list", home=home).stdout


def test_replaced_files_come_back_into_service(install, start: Start, home: Path) -> None:  # type: ignore[no-untyped-def]
    install("1.0.0", "self.told = 'old'")
    server = start({"teller": {"init_args": {"version": "1.0.0"}}})
    install("1.0.0", "raise ValueError('no weights')")
    old = server.instance_pids("teller")
    done = hub("rollback", "teller", home=home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the files of 1.0.0 before its last installation are back" in done.stdout
    assert server.results("teller")["version"] == "1.0.0"
    assert hub("verify", home=home).stdout == "teller 1.0.0: intact\n"
    assert server.instance_pids("teller") == old, "they are the files that it ran all the time"


def test_an_instance_that_dies_after_its_files_were_replaced_starts_again_from_them(  # type: ignore[no-untyped-def]
    install, start: Start, home: Path
) -> None:
    """The new files do not load, so the old ones stay in service: all of the old ones, whatever happens."""
    install("1.0.0", "self.tell.__func__")
    server = start({"teller": {}})
    for _ in range(3):  # more than are kept for a rollback
        assert "is kept" in install("1.0.0", "raise ValueError('no weights')").stdout
    for _ in range(2):
        old = server.instance_pids("teller")
        os.kill(old[0], signal.SIGKILL)
        wait_for(lambda old=old: server.instance_pids("teller") not in (old, []))
        assert server.results("teller", a=1) == {"version": "1.0.0", "a": 1}
    assert server.stop() == 0
    hub("gc", home=home)
    assert strays(Installer(home)) == []


def test_what_is_served_is_removed_only_by_force_and_then_its_requests_end_first(  # type: ignore[no-untyped-def]
    install, start: Start, home: Path, tmp_path: Path
) -> None:
    install("1.0.0", "import time\n        self.pause = time.sleep")
    source = tmp_path / "teller-1.0.0" / "module.py"
    source.write_text(source.read_text().replace("return {", "self.pause(arguments.get('seconds', 0)); return {"))
    assert hub("install", source.parent, home=home).returncode == 0
    server = start({"teller": {}, "shout": toy("shout")})
    refused = hub("uninstall", "teller", home=home)
    assert refused.returncode == 1
    for words in (f"port {server.port}", f"hub serving stop -p {server.port}", "hub uninstall teller --force"):
        assert words in refused.stderr
    assert server.results("teller", a=1) == {"version": "1.0.0", "a": 1}
    place = Installer(home).installed.get("teller").version_dir
    code = f"import requests; print(requests.post('{server.url}/predict/teller', json={{'seconds': 1.5}}, timeout=30).json()['status'])"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as asking:
        wait_for(lambda: any(each["in_flight"] for each in server.status("teller")["instances"]))
        done = hub("uninstall", "teller", "--force", home=home)
        assert asking.stdout is not None
        assert asking.stdout.read() == "000\n", "the request that was in progress is answered"
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["Removed teller 1.0.0", f"server on port {server.port}: teller 1.0.0 is no longer served"]
    assert not place.exists()
    assert server.predict("teller", json={}).json()["status"] == "111"
    assert server.results("shout", text="a") == "A!"
    # the other modules, and this one, can still be changed although the settings name one that is gone
    assert "teller 1.0.0 is served" in hub("install", source.parent, home=home).stdout
    assert server.results("teller", a=1) == {"version": "1.0.0", "a": 1}


def test_when_the_served_version_is_removed_one_that_is_left_takes_over(install, start: Start, home: Path) -> None:  # type: ignore[no-untyped-def]
    install("1.0.0")
    install("1.1.0")
    server = start({"teller": {}})
    assert hub("uninstall", "teller==1.0.0", home=home).returncode == 0, "it is not what is served"
    install("1.2.0")
    assert hub("uninstall", "teller==1.2.0", home=home).returncode == 1
    with load(server) as answers:
        wait_for(lambda: len(answers) > 8)
        done = hub("uninstall", "teller==1.2.0", "--force", "--json", home=home)
        at_swap = len(answers)
        wait_for(lambda: len(answers) > at_swap + 20)
    assert [(each["state"], each["version"], each["was"]) for each in json.loads(done.stdout)["servers"]] == [("loaded", "1.1.0", "1.2.0")]
    assert [each for each in answers if "error" in each] == []
    assert answers[-1]["version"] == "1.1.0"


def test_a_server_started_by_names_forgets_only_what_was_removed(install, home: Path, tmp_path: Path, start: Start) -> None:  # type: ignore[no-untyped-def]
    from tests.conftest import MODULES, Server, free_port

    install("1.0.0")
    hub("install", MODULES / "shout", home=home)
    port = free_port()
    server = Server(["-m", "teller", "shout", "-p", str(port)], port, home, tmp_path / "log")
    try:
        server.wait_until_ready()
        assert hub("uninstall", "teller", "--force", home=home).returncode == 0
        again = hub("install", MODULES / "shout", home=home)
        assert "shout 1.0.0 answers now, loaded again" in again.stdout, again.stdout + again.stderr
    finally:
        server.process.kill()
        server.process.wait(60)


@pytest.mark.slow
def test_a_server_lives_through_installs_removals_rollbacks_and_verifications_of_its_module_at_once(  # type: ignore[no-untyped-def]
    install, start: Start, home: Path, tmp_path: Path
) -> None:
    for version in ("1.0.0", "1.1.0"):
        install(version)
    copy = shutil.copytree(tmp_path / "teller-1.0.0", tmp_path / "copy")
    (copy / "more.txt").write_text("more")
    server = start({"teller": {}})
    commands = [
        ["install", "--no-check", str(tmp_path / "teller-1.1.0")],
        ["install", "--no-check", str(copy)],
        ["rollback", "teller"],
        ["verify"],
        ["gc"],
        ["uninstall", "teller==1.0.0"],
    ]
    script = "\n".join(f"{sys.executable} -m hubserve {' '.join(words)}" for words in commands)
    with load(server, threads=2) as answers:
        environ = {**os.environ, "HUB_HOME": str(home)}
        each_twice = [subprocess.Popen(["sh", "-c", script], cwd=ROOT, env=environ, stdout=-1, stderr=-1, text=True) for _ in range(2)]
        said = [each.communicate(timeout=120) for each in each_twice]
    assert [each for each in answers if "error" in each] == []
    assert all("Traceback" not in errors and "DIFFERS" not in out for out, errors in said), said
    assert {each["version"] for each in answers} <= {"1.0.0", "1.1.0"}
    assert hub("verify", home=home).returncode == 0
    assert server.status("teller")["version"] == Installer(home).installed.get("teller").info.version
    assert server.stop() == 0
    Installer(home).sweep()
    assert strays(Installer(home)) == []
