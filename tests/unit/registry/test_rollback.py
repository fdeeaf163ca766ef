"""Taking back changes: what the bare name means, and the files that were replaced."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hubserve.cli import main
from hubserve.errors import InstallError, ModuleNotFound
from hubserve.kinds.versions import current_version
from hubserve.registry.configuration import change
from hubserve.registry.installer import Installer
from hubserve.registry.version_dirs import DirectoryLock
from tests.conftest import ROOT
from tests.unit.registry.toys import strays, write_module


@pytest.fixture
def installer(home: Path) -> Installer:
    return Installer(home)


def put(installer: Installer, tmp_path: Path, version: str, which: str) -> Path:
    return installer.install(write_module(tmp_path / f"{version}-{which}", version=version, which__txt=which), check=False).version_dir


def meant(installer: Installer) -> tuple[str, str]:
    one = installer.installed.get("toy")
    return one.info.version, (one.folder / "which.txt").read_text()


def test_each_rollback_takes_the_last_change_back_until_there_is_none(tmp_path: Path, installer: Installer) -> None:
    for version, which in (("1.0.0", "a"), ("1.1.0", "b"), ("1.1.0", "c"), ("0.9.0", "d")):
        put(installer, tmp_path, version, which)
    assert meant(installer) == ("0.9.0", "d")
    first = installer.rollback("toy")
    assert (first.was, first.now.info.version, first.restored) == ("0.9.0", "1.1.0", "")
    assert meant(installer) == ("1.1.0", "c")
    second = installer.rollback("toy")
    assert (second.was, second.now.info.version, second.restored) == ("1.1.0", "1.1.0", "1.1.0")
    assert meant(installer) == ("1.1.0", "b")
    assert installer.rollback("toy").now.folder == installer.installed.get("toy").folder
    assert meant(installer) == ("1.0.0", "a")
    with pytest.raises(InstallError, match="'toy' has nothing to go back to"):
        installer.rollback("toy")
    assert installer.installed.versions("toy") == ["0.9.0", "1.0.0", "1.1.0"], "what was taken back can still be asked for"
    assert strays(installer) == []
    with pytest.raises(ModuleNotFound):
        installer.rollback("nobody")


def test_a_first_install_cannot_be_taken_back(tmp_path: Path, installer: Installer) -> None:
    put(installer, tmp_path, "1.0.0", "a")
    with pytest.raises(InstallError, match="nothing to go back to"):
        installer.rollback("toy")


def test_an_older_version_that_is_replaced_and_becomes_current_goes_back_in_one_step(tmp_path: Path, installer: Installer) -> None:
    for version, which in (("1.0.0", "a"), ("2.0.0", "b"), ("1.0.0", "c")):
        put(installer, tmp_path, version, which)
    assert meant(installer) == ("1.0.0", "c")
    installer.rollback("toy")
    assert meant(installer) == ("2.0.0", "b")
    assert (installer.installed.get("toy", "1.0.0").folder / "which.txt").read_text() == "a"


@pytest.mark.parametrize(("keep", "back"), [(0, []), (1, ["b"]), (2, ["b", "a"])])
def test_as_many_replaced_copies_are_kept_as_is_set(tmp_path: Path, installer: Installer, keep: int, back: list[str]) -> None:
    change(installer.home, "install.keep_replaced", keep)
    for which in ("a", "b", "c"):
        put(installer, tmp_path, "1.0.0", which)
    assert sorted((each.version_dir / "which.txt").read_text() for each in installer.installed.replaced("toy")) == sorted(back)
    for which in back:
        installer.rollback("toy")
        assert meant(installer) == ("1.0.0", which)
    with pytest.raises(InstallError, match="nothing to go back to"):
        installer.rollback("toy")
    assert strays(installer) == []


def test_what_was_uninstalled_is_gone_from_the_way_back(tmp_path: Path, installer: Installer) -> None:
    for version, which in (("1.0.0", "a"), ("2.0.0", "b"), ("2.0.0", "c"), ("3.0.0", "d")):
        put(installer, tmp_path, version, which)
    installer.uninstall("toy", "2.0.0")
    assert installer.installed.replaced("toy") == []
    installer.rollback("toy")
    assert meant(installer) == ("1.0.0", "a")


def test_when_the_current_version_is_uninstalled_the_name_means_what_it_meant_before(tmp_path: Path, installer: Installer) -> None:
    for version in ("3.0.0", "1.0.0", "2.0.0"):
        put(installer, tmp_path, version, version)
    installer.uninstall("toy", "2.0.0")
    assert meant(installer) == ("1.0.0", "1.0.0")


def test_inside_an_instance_the_name_means_the_same(tmp_path: Path, installer: Installer) -> None:
    old = put(installer, tmp_path, "1.0.0", "a")
    assert current_version("toy") == old
    new = put(installer, tmp_path, "1.1.0", "b")
    assert current_version("toy") == new
    installer.rollback("toy")
    assert current_version("toy") == old


def test_files_that_a_process_runs_stay_whatever_happens_to_them_and_go_when_it_ends(tmp_path: Path, installer: Installer) -> None:
    change(installer.home, "install.keep_replaced", 0)
    place = put(installer, tmp_path, "1.0.0", "a")
    script = "import sys; from pathlib import Path; from hubserve.registry.version_dirs import DirectoryLock\n"
    script += "hold = DirectoryLock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", script, str(place)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"held\n"
        put(installer, tmp_path, "1.0.0", "b")
        assert (place / "which.txt").read_text() == "a"
        installer.uninstall("toy")
        assert (place / "which.txt").read_text() == "a"
        assert installer.installed.all() == []
        running.kill()
    installer.sweep()
    assert not place.exists()
    assert strays(installer) == []
    assert DirectoryLock(place).lost


def test_the_commands_print_the_current_version_and_the_result_of_a_rollback(
    tmp_path: Path, installer: Installer, capsys: pytest.CaptureFixture[str]
) -> None:
    put(installer, tmp_path, "1.0.0", "a")
    put(installer, tmp_path, "1.1.0", "b")

    def said(*words: str, status: int = 0) -> str:
        capsys.readouterr()
        assert main([*words]) == status
        captured = capsys.readouterr()
        return captured.out if status == 0 else captured.err

    assert "1.1.0 (current)" in said("list")
    assert "1.0.0, 1.1.0 (current)" in said("show", "toy")
    assert [each["current"] for each in json.loads(said("list", "--json"))["modules"]] == [False, True]
    assert said("rollback", "toy") == "toy means 1.0.0 again, not 1.1.0\n"
    assert json.loads(said("show", "toy", "--json"))["current"] == "1.0.0"
    put(installer, tmp_path, "1.0.0", "c")
    assert "still means 1.0.0; the files of 1.0.0 before its last installation are back" in said("rollback", "toy")
    assert "nothing to go back to" in said("rollback", "toy", status=1)


def test_a_home_that_cannot_be_written_is_read_as_it_is(tmp_path: Path, installer: Installer) -> None:
    put(installer, tmp_path, "1.0.0", "a")
    new = put(installer, tmp_path, "1.0.0", "b")
    link = installer.installed.modules / "toy" / "1.0.0"
    link.unlink()
    link.symlink_to(installer.installed.replaced("toy")[0].version_dir.name)  # as a process that is killed right after its commit leaves it
    script = "import sys; from pathlib import Path; from hubserve.registry.installer import Installer\n"
    script += "import os; os.access = lambda *_: False\n"
    script += "import hubserve.registry.installed as s\ndef locked(*_): raise PermissionError(13, 'Read-only')\ns.store_lock = locked\n"
    script += "print((Installer(Path(sys.argv[1])).installed.get('toy').folder / 'which.txt').read_text())"
    done = subprocess.run([sys.executable, "-c", script, str(installer.home)], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "b\n"
    assert os.readlink(link) != new.name
    assert meant(installer) == ("1.0.0", "b"), "and who can write it mends it"
    assert os.readlink(link) == new.name
