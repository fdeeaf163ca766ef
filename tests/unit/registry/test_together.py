"""Several processes installing, removing and reading one home at once."""

import os
import subprocess
import sys
from pathlib import Path

from hubserve.registry.digests import measure
from hubserve.registry.installer import Installer
from hubserve.registry.recovery import exclusive
from tests.conftest import ROOT, hub
from tests.unit.registry.toys import strays, write_module

WORKER = """
import sys
from pathlib import Path
from hubserve.errors import InstallError, ModuleNotFound
from hubserve.registry.gc import collect
from hubserve.registry.install.verification import verify
from hubserve.registry.digests import measure
from hubserve.registry.installer import Installer
role, home, folders = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
installer = Installer(home)
for turn in range(12):
    if role == "remove":
        try:
            installer.uninstall("toy", "1.0.0" if turn % 2 else None)
        except ModuleNotFound:
            pass
    elif role == "read":
        for installed in installer.installed.all():
            assert installed.info.name == "toy"
    elif role == "roll back":
        try:
            installer.rollback("toy")
        except (ModuleNotFound, InstallError) as error:
            assert "nothing to go back to" in error.message or "no module" in error.message, error
    elif role == "verify":
        for installed in installer.installed.all():
            verdict = verify(installed)
            assert verdict.is_intact or not installed.version_dir.exists(), verdict
    elif role == "collect":
        collect(home)
    else:
        installer.install(folders[turn % len(folders)], check=False)
"""


def test_processes_that_install_remove_and_read_at_once_do_not_disturb_one_another(tmp_path: Path) -> None:
    folders = [str(write_module(tmp_path / f"v{index}", version=f"{index % 2 + 1}.0.0", which__txt=str(index))) for index in range(4)]
    roles = ["install", "install", "remove", "read", "roll back", "verify", "collect"]
    commands = [[sys.executable, "-W", "error", "-c", WORKER, role, str(tmp_path / "home"), *folders] for role in roles]
    running = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for command in commands]
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    installer = Installer(tmp_path / "home")
    installer.install(folders[0], check=False)
    for installed in installer.installed.all():
        assert measure(installed.folder).digest == installed.manifest.digest
    assert strays(installer) == []


def test_an_install_that_must_wait_says_so_and_then_goes_on(tmp_path: Path) -> None:
    home = tmp_path / "home"
    installer = Installer(home)
    source = write_module(tmp_path / "src")
    with exclusive(home):
        command = [sys.executable, "-m", "hubserve", "install", "--no-check", str(source)]
        waiting = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "HUB_HOME": str(home)}, stderr=subprocess.PIPE, text=True)
        assert waiting.stderr is not None
        assert "waiting for another install" in waiting.stderr.readline()
        assert installer.installed.all() == []
    _, errors = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, errors
    assert installer.installed.versions("toy") == ["1.0.0"]


def test_an_install_that_waits_too_long_gives_up_and_says_how_to_wait_longer(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert hub("config", "install.lock_timeout_s==1", home=home).returncode == 0
    with exclusive(home):
        done = hub("install", write_module(tmp_path / "src"), home=home)
    assert done.returncode == 1
    assert "install.lock_timeout_s" in done.stderr
    assert Installer(home).installed.all() == []


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    script = "import sys, time; from pathlib import Path; from hubserve.registry.recovery import exclusive\n"
    script += "with exclusive(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(600)"
    holder = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "home")], cwd=ROOT, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    holder.kill()
    holder.communicate()
    Installer(tmp_path / "home").install(write_module(tmp_path / "src"), check=False)
    assert Installer(tmp_path / "home").installed.versions("toy") == ["1.0.0"]
