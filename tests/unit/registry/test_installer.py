"""Installing, listing and removing: versions side by side, and nothing changed by what fails."""

import contextlib
import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from hubserve.errors import ConfigError, HubError, InstallError, LoadFailed, MissingDependency, ModuleNotFound
from hubserve.registry import version_dirs
from hubserve.registry.digests import measure
from hubserve.registry.history import RECORD_NAME
from hubserve.registry.installer import Installer
from hubserve.registry.manifest import FILES_NAME, MANIFEST_NAME, read_manifest
from tests.conftest import wait_for
from tests.unit.registry.toys import pack, strays, tar_of, tree, write_module


@pytest.fixture
def installer(tmp_path: Path) -> Installer:
    return Installer(tmp_path / "home")


def quiet(installer: Installer, source: Path) -> Path:
    """Install without the import, which other tests are about."""
    return installer.install(source, check=False).folder


def refuse(installer: Installer, source: object, kind: type[HubError], *words: str, check: bool = False) -> HubError:
    """Installing must fail with these words and change nothing."""
    before = tree(installer.installed.modules) if installer.installed.modules.exists() else {}
    with pytest.raises(kind) as caught:
        installer.install(source, check=check)  # type: ignore[arg-type]
    for word in words:
        assert word in caught.value.message
    after = tree(installer.installed.modules) if installer.installed.modules.exists() else {}
    after.pop(".hubserve.lock", None)
    before.pop(".hubserve.lock", None)
    assert after == before
    assert not (installer.home / "tmp").exists() or not list((installer.home / "tmp").iterdir())
    return caught.value


def test_a_folder_is_installed_completely_with_a_correct_manifest(tmp_path: Path, installer: Installer) -> None:
    source = write_module(tmp_path / "src" / "any-name", "My-Toy", "1.2.0", data__txt="x")
    installed = installer.install(source)
    assert installed.folder == installer.home / "modules" / "My_Toy" / "1.2.0"
    assert not installed.replaced
    files = tree(installed.folder)
    del files[MANIFEST_NAME], files[FILES_NAME]
    assert files == tree(source)
    manifest = read_manifest(installed.folder)
    assert manifest == installed.manifest
    assert (manifest.info.name, manifest.info.version, manifest.info.serving_method) == ("My-Toy", "1.2.0", "say")
    assert (manifest.source, manifest.source_folder, manifest.import_folder) == (str(source), str(source), "My_Toy")
    assert (manifest.digest, manifest.files, manifest.size_bytes) == measure(source)
    assert not list((installer.home / "tmp").iterdir())
    assert stat.S_IMODE(installed.folder.stat().st_mode) & 0o500 == 0o500


def test_an_archive_is_installed_and_remembers_no_source_folder(tmp_path: Path, installer: Installer) -> None:
    archive = pack(tmp_path / "toy.tar.gz", write_module(tmp_path / "src"), "w:gz", "deep/toy")
    manifest = installer.install(archive).manifest
    assert (manifest.source, manifest.source_folder) == (str(archive), "")
    assert manifest.info.name == "toy"


def test_versions_live_side_by_side_and_the_last_installed_is_the_default(tmp_path: Path, installer: Installer) -> None:
    for version in ("1.9.0", "nightly", "1.10.0"):
        quiet(installer, write_module(tmp_path / version, version=version))
    assert installer.installed.versions("toy") == ["nightly", "1.9.0", "1.10.0"]
    assert installer.installed.get("toy").info.version == "1.10.0"
    quiet(installer, tmp_path / "nightly")
    assert installer.installed.get("toy").info.version == "nightly"
    assert installer.installed.get("toy", "1.9").folder.name == "1.9.0"
    assert [each.info.version for each in installer.installed.all()] == ["nightly", "1.9.0", "1.10.0"]


def test_installing_the_same_version_again_replaces_all_of_it(tmp_path: Path, installer: Installer) -> None:
    quiet(installer, write_module(tmp_path / "old", old__txt="old"))
    again = installer.install(write_module(tmp_path / "new", new__txt="new"), check=False)
    assert again.replaced
    assert (again.folder / "new.txt").exists()
    assert not (again.folder / "old.txt").exists()
    assert sorted(path.name for path in again.folder.parent.glob("[!.]*")) == ["1.0.0"]
    assert [(each.version_dir / "old.txt").read_text() for each in installer.installed.replaced("toy")] == ["old"]


def test_an_installed_version_can_be_the_source_of_itself(tmp_path: Path, installer: Installer) -> None:
    folder = quiet(installer, write_module(tmp_path / "src"))
    before = measure(folder)
    assert installer.install(folder, check=False).manifest.digest == before.digest


def test_get_names_what_is_near_or_which_versions_there_are(tmp_path: Path, installer: Installer) -> None:
    with pytest.raises(ModuleNotFound, match="Nothing is installed yet"):
        installer.installed.get("toy")
    quiet(installer, write_module(tmp_path / "src", "clas_system"))
    with pytest.raises(ModuleNotFound, match="did you mean 'clas_system'") as caught:
        installer.installed.get("clas_sistem")
    assert "hub install" in caught.value.message
    with pytest.raises(ModuleNotFound, match=r"no version 2\.0\.0\. Installed: 1\.0\.0"):
        installer.installed.get("clas_system", "2.0.0")
    for odd in ("..", ".", "a/b", "", "/etc"):
        with pytest.raises(ModuleNotFound):
            installer.installed.get(odd)
    assert installer.installed.get("clas-system").info.name == "clas_system", "PaddleHub takes '-' and '_' for the same"


def test_one_version_or_all_of_them_are_uninstalled(tmp_path: Path, installer: Installer) -> None:
    for version in ("1.0.0", "2.0.0", "3.0.0"):
        quiet(installer, write_module(tmp_path / version, version=version))
    assert [each.info.version for each in installer.uninstall("toy", "2.0.0")] == ["2.0.0"]
    assert installer.installed.versions("toy") == ["1.0.0", "3.0.0"]
    assert [each.info.version for each in installer.uninstall("toy")] == ["1.0.0", "3.0.0"]
    assert installer.installed.all() == []
    assert not (installer.installed.modules / "toy").exists()
    assert not list((installer.home / "tmp").iterdir())
    with pytest.raises(ModuleNotFound):
        installer.uninstall("toy")


def test_sources_without_a_module_are_refused_with_the_reason(tmp_path: Path, installer: Installer) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    broken = write_module(tmp_path / "broken")
    (broken / "module.py").write_text("class Toy:\n    def broken(:\n")
    undecorated = write_module(tmp_path / "undecorated")
    (undecorated / "module.py").write_text("class Toy:\n    pass\n")
    refuse(installer, tmp_path / "gone", ModuleNotFound, "there is no", "gone", ".tar.gz")
    refuse(installer, "ftp://example.invalid/toy.zip", InstallError, "cannot be fetched", "https://")
    refuse(installer, empty, LoadFailed, str(empty), "module.py")
    refuse(installer, broken, LoadFailed, str(broken / "module.py"), "line 2")
    refuse(installer, undecorated, LoadFailed, str(undecorated / "module.py"), "@moduleinfo")
    refuse(installer, "/dev/null", InstallError, "neither a folder nor a file")


def test_errors_inside_an_archive_name_the_archive(tmp_path: Path, installer: Installer) -> None:
    archive = tar_of(tmp_path / "toy.tar", ("toy/__init__.py", b""), ("toy/module.py", b"def broken(:\n"))
    refuse(installer, archive, LoadFailed, str(archive) + "/module.py", "line 1")
    refuse(installer, tar_of(tmp_path / "none.tar", ("toy/readme", b"")), LoadFailed, "none.tar", "module.py")


@pytest.mark.parametrize("member", ["../escaped", "/tmp/hubserve-escaped"])
def test_an_archive_that_would_escape_is_refused_and_nothing_is_written(tmp_path: Path, installer: Installer, member: str) -> None:
    whole = pack(tmp_path / "toy.tar", write_module(tmp_path / "src"), "w", "toy")
    quiet(installer, whole)
    before = tree(tmp_path)
    refuse(installer, tar_of(tmp_path / "bad.tar", ("module.py", b"x = 1"), (member, b"payload")), InstallError, "is refused", member)
    (tmp_path / "bad.tar").unlink()
    assert tree(tmp_path) == before
    assert not Path("/tmp/hubserve-escaped").exists()


@pytest.mark.parametrize(
    ("name", "version"), [("../evil", "1.0.0"), ("toy", "../../evil"), ("toy", "1/0"), ("to.y", "1.0.0"), ("toy", "..")]
)
def test_a_name_or_version_that_cannot_be_a_folder_is_refused(tmp_path: Path, installer: Installer, name: str, version: str) -> None:
    refuse(installer, write_module(tmp_path / "src", name, version), InstallError, "@moduleinfo")


def test_a_module_whose_import_fails_is_refused_with_its_own_file_and_the_old_one_stays(tmp_path: Path, installer: Installer) -> None:
    quiet(installer, write_module(tmp_path / "good"))
    missing = write_module(tmp_path / "missing", extra="import a_package_that_nobody_has")
    error = refuse(installer, missing, MissingDependency, "a_package_that_nobody_has", str(missing), check=True)
    assert str(installer.home / "tmp") not in error.message + error.detail
    raising = write_module(tmp_path / "raising", extra="raise RuntimeError('no luck')")
    refuse(installer, raising, LoadFailed, "no luck", check=True)
    dying = write_module(tmp_path / "dying", extra="import os; os.kill(os.getpid(), 9)")
    refuse(installer, dying, LoadFailed, "killed by SIGKILL", check=True)
    leaving = write_module(tmp_path / "leaving", extra="import os; print('{\"code\": 3}'); os._exit(3)")
    refuse(installer, leaving, LoadFailed, "exit code 3", check=True)
    assert installer.installed.get("toy").manifest.source == str(tmp_path / "good")


def test_an_import_leaves_no_bytecode_and_finds_models_from_the_source(tmp_path: Path, installer: Installer) -> None:
    (tmp_path / "src" / "model").mkdir(parents=True)
    extra = "from hubserve.module import find_folder\nimport os\nassert find_folder('model', os.path.dirname(__file__))"
    installed = installer.install(write_module(tmp_path / "src" / "toy", extra=extra))
    assert not list(installed.folder.rglob("__pycache__"))


def test_a_module_that_imports_for_too_long_is_stopped_with_all_it_started(tmp_path: Path, installer: Installer) -> None:
    pid_file = tmp_path / "pid"
    extra = (
        "import subprocess, time, pathlib\n"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(subprocess.Popen(['sleep', '600']).pid))\ntime.sleep(600)"
    )
    (installer.home / "conf").mkdir(parents=True)
    (installer.home / "conf" / "config.json").write_text(json.dumps({"install": {"check_timeout_s": 8}}))
    refuse(installer, write_module(tmp_path / "src", extra=extra), LoadFailed, "more than 8 s", "install.check_timeout_s", check=True)
    state = Path(f"/proc/{pid_file.read_text()}/stat")
    wait_for(lambda: not state.exists() or state.read_text().split()[2] == "Z")


def test_no_check_installs_what_cannot_be_imported_yet(tmp_path: Path, installer: Installer) -> None:
    quiet(installer, write_module(tmp_path / "src", extra="import a_package_that_nobody_has"))
    assert installer.installed.versions("toy") == ["1.0.0"]


def test_two_modules_that_would_share_a_folder_are_kept_apart(tmp_path: Path, installer: Installer) -> None:
    quiet(installer, write_module(tmp_path / "one", "my-toy"))
    refuse(installer, write_module(tmp_path / "two", "my_toy"), InstallError, "my-toy", "hub uninstall my-toy")


def test_a_module_that_paddlehub_installed_itself_is_noted_and_never_touched(tmp_path: Path, installer: Installer) -> None:
    flat = write_module(installer.installed.modules / "toy")
    before = tree(flat)
    refuse(installer, write_module(tmp_path / "src"), InstallError, "PaddleHub itself")
    listing = installer.installed.scan()
    assert listing.installed == []
    assert len(listing.notes) == 1
    assert str(flat) in listing.notes[0]
    for action in (installer.installed.get, installer.uninstall):
        with pytest.raises(ModuleNotFound, match="PaddleHub itself"):
            action("toy")
    assert tree(flat) == before


def test_a_damaged_version_is_noted_and_the_rest_is_listed(tmp_path: Path, installer: Installer) -> None:
    quiet(installer, write_module(tmp_path / "src"))
    damaged = quiet(installer, write_module(tmp_path / "other", "other"))
    (damaged / MANIFEST_NAME).write_text("{")
    listing = installer.installed.scan()
    assert [each.info.name for each in listing.installed] == ["toy"]
    assert str(damaged) in listing.notes[0]
    with pytest.raises(InstallError, match="damaged"):
        installer.installed.get("other")
    assert quiet(installer, tmp_path / "other") == damaged, "installing again mends it"
    assert installer.installed.get("other").folder == damaged


@pytest.mark.parametrize("failing", ["rename", "replace", "symlink", "fsync", "mkdir"])
@pytest.mark.parametrize("before", ["none", "old"])
def test_a_step_that_fails_leaves_everything_as_it_was_and_says_so(
    tmp_path: Path, installer: Installer, monkeypatch: pytest.MonkeyPatch, failing: str, before: str
) -> None:
    if before == "old":
        quiet(installer, write_module(tmp_path / "old", old__txt="old"))
    write_module(tmp_path / "new", version="2.0.0", new__txt="new")
    real, calls = getattr(os, failing), []

    def full(*arguments: object, **options: object) -> object:
        calls.append(arguments)
        if len(calls) == call:
            raise OSError(28, "No space left on device")
        return real(*arguments, **options)

    old = ["1.0.0"] if before == "old" else []
    for call in range(1, 100):
        calls.clear()
        message = ""
        with monkeypatch.context() as patch:
            patch.setattr(os, failing, full)
            with contextlib.suppress(InstallError):
                installer.install(tmp_path / "new", check=False)
                message = "installed"
        assert installer.installed.versions("toy") == ([*old, "2.0.0"] if message else old)
        if message:
            installer.uninstall("toy", "2.0.0")
        if len(calls) < call:
            break
    assert 1 < call < 99
    assert installer.installed.versions("toy") == old
    quiet(installer, tmp_path / "new")
    assert strays(installer) == []


def test_a_home_of_plain_folders_is_read_as_it_lies_and_adopted_by_its_first_change(tmp_path: Path, installer: Installer) -> None:
    older_home(tmp_path, installer)
    before = tree(installer.installed.modules)
    assert installer.installed.versions("toy") == ["1.0.0", "2.0.0"]
    assert installer.installed.get("toy").info.version == "2.0.0", "the newest"
    assert tree(installer.installed.modules) == before, "reading changes nothing"
    quiet(installer, write_module(tmp_path / "new", which__txt="new"))
    assert (installer.installed.get("toy").folder / "which.txt").read_text() == "new"
    assert (installer.installed.get("toy", "2.0.0").folder / "which.txt").read_text() == "2.0.0"
    assert installer.rollback("toy").now.info.version == "2.0.0"
    assert (installer.installed.get("toy", "1.0.0").folder / "which.txt").read_text() == "1.0.0"
    assert strays(installer) == []
    shutil.rmtree(installer.installed.modules)
    older_home(tmp_path / "again", installer)
    assert [each.info.version for each in installer.uninstall("toy")] == ["1.0.0", "2.0.0"]
    assert not (installer.installed.modules / "toy").exists()


def test_where_the_file_system_cannot_exchange_two_names_plain_folders_are_copied(
    tmp_path: Path, installer: Installer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version_dirs, "_exchange", lambda one, other: False)
    older_home(tmp_path, installer)
    quiet(installer, write_module(tmp_path / "new", version="3.0.0"))
    assert [(each.folder / "which.txt").read_text() for each in installer.installed.all()[:2]] == ["1.0.0", "2.0.0"]
    assert strays(installer) == []


def older_home(tmp_path: Path, installer: Installer) -> None:
    for version in ("1.0.0", "2.0.0"):
        made = Installer(tmp_path / "made" / version)
        place = made.install(write_module(tmp_path / version, version=version, which__txt=version), check=False).version_dir
        shutil.copytree(place, installer.installed.modules / "toy" / version)


def test_modules_on_another_file_system_than_tmp_are_installed(
    tmp_path: Path, installer: Installer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = os.rename

    def across(source: Path, target: Path) -> None:
        if Path(target).is_relative_to(installer.installed.modules) and not Path(source).is_relative_to(installer.installed.modules):
            raise OSError(18, "Invalid cross-device link")
        rename(source, target)

    monkeypatch.setattr(os, "rename", across)
    folder = quiet(installer, write_module(tmp_path / "src", which__txt="x"))
    assert (folder / "which.txt").read_text() == "x"
    assert strays(installer) == []


def test_a_version_deleted_by_hand_is_not_installed_and_causes_no_errors(tmp_path: Path, installer: Installer) -> None:
    for version in ("1.0.0", "2.0.0", "3.0.0"):
        quiet(installer, write_module(tmp_path / version, version=version))
    installer.installed.get("toy", "2.0.0").folder.unlink()
    shutil.rmtree(installer.installed.get("toy", "3.0.0").version_dir)
    assert installer.installed.versions("toy") == ["1.0.0"]
    assert installer.installed.get("toy").info.version == "1.0.0"
    quiet(installer, write_module(tmp_path / "other", "other"))
    assert strays(installer) == []
    assert [each.info.version for each in installer.uninstall("toy")] == ["1.0.0"]


def test_a_folder_that_something_else_put_among_the_versions_is_noted_and_left_alone(tmp_path: Path, installer: Installer) -> None:
    quiet(installer, write_module(tmp_path / "src"))
    stranger = write_module(installer.installed.modules / "toy" / "9.0.0", version="9.0.0")
    assert str(stranger) in installer.installed.scan().notes[0]
    assert installer.installed.versions("toy") == ["1.0.0"]
    refuse(installer, write_module(tmp_path / "nine", version="9.0.0"), InstallError, str(stranger), "What was there is still there")
    installer.uninstall("toy")
    assert (stranger / "module.py").exists()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"schema_version": 9}', '{"schema_version": 1, "current": "../..", "versions": {}, "changes": []}']
)
def test_a_damaged_record_costs_the_way_back_and_nothing_else(tmp_path: Path, installer: Installer, content: str) -> None:
    for version in ("2.0.0", "1.0.0"):
        quiet(installer, write_module(tmp_path / version, version=version))
    (installer.installed.modules / "toy" / RECORD_NAME).write_text(content)
    assert installer.installed.versions("toy") == ["1.0.0", "2.0.0"]
    with pytest.raises(InstallError, match="nothing to go back to"):
        installer.rollback("toy")
    quiet(installer, tmp_path / "1.0.0")
    assert installer.installed.versions("toy") == ["1.0.0", "2.0.0"]
    assert strays(installer) == []


def test_a_folder_that_holds_the_home_is_refused(tmp_path: Path) -> None:
    source = write_module(tmp_path / "src")
    refuse(Installer(source / "home"), source, InstallError, "holds the home")


def test_wrong_settings_stop_an_install_before_it_starts(tmp_path: Path, installer: Installer) -> None:
    (installer.home / "conf").mkdir(parents=True)
    (installer.home / "conf" / "config.json").write_text('{"install": {"max_fils": 3}}')
    refuse(installer, write_module(tmp_path / "src"), ConfigError, "max_fils", "did you mean")
