"""Names, names with versions, and folders are resolved to modules."""

from pathlib import Path

import pytest

from hubserve.errors import InstallError, InvalidInput, LoadFailed, ModuleNotFound
from hubserve.registry.installer import Installer
from hubserve.registry.resolve import resolve
from tests.unit.registry.toys import pack, write_module


@pytest.fixture
def installer(tmp_path: Path) -> Installer:
    return Installer(tmp_path / "home")


def test_an_installed_module_is_found_with_the_folder_it_came_from_on_its_search_path(tmp_path: Path, installer: Installer) -> None:
    source = write_module(tmp_path / "src" / "toy", "my-toy")
    installer.install(source, check=False)
    found = resolve("my-toy", installer.installed)
    assert (found.folder, found.import_name) == (installer.installed.modules / "my_toy" / "1.0.0", "my_toy")
    assert found.search_path == [source, source.parent]
    assert found.manifest is not None
    assert resolve("my-toy==1.0", installer.installed) == found


def test_a_module_from_an_archive_has_no_search_path(tmp_path: Path, installer: Installer) -> None:
    installer.install(pack(tmp_path / "toy.tar", write_module(tmp_path / "src"), "w", "toy"), check=False)
    assert resolve("toy", installer.installed).search_path == []


@pytest.mark.parametrize(("name", "import_name"), [("toy", "toy"), ("my-toy", "my_toy"), ("toy-1.0.0", "toy_1_0_0"), ("3d", "3d")])
def test_a_folder_is_used_as_it_is_under_a_name_that_can_be_imported(
    tmp_path: Path, installer: Installer, name: str, import_name: str
) -> None:
    folder = write_module(tmp_path / "src" / name)
    found = resolve(str(folder) + "/", installer.installed)
    assert (found.folder, found.import_name, found.search_path, found.manifest) == (folder, import_name, [folder.parent], None)


def test_a_bare_word_is_the_installed_module_and_else_a_folder_here(
    tmp_path: Path, installer: Installer, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_module(tmp_path / "toy", version="3.0.0")
    monkeypatch.chdir(tmp_path)
    assert resolve("toy", installer.installed).folder == folder
    monkeypatch.chdir(folder)
    assert resolve(".", installer.installed).import_name == "toy"
    monkeypatch.chdir(tmp_path)
    installer.install(write_module(tmp_path / "src"), check=False)
    assert resolve("toy", installer.installed).info.version == "1.0.0"
    assert resolve("./toy", installer.installed).info.version == "3.0.0"
    with pytest.raises(ModuleNotFound, match="no version 3"):
        resolve("toy==3.0.0", installer.installed)


def test_a_module_py_stands_for_its_folder(tmp_path: Path, installer: Installer, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_module(tmp_path / "src" / "toy")
    wanted = resolve(str(folder), installer.installed)
    assert resolve(str(folder / "module.py"), installer.installed) == wanted
    monkeypatch.chdir(folder)
    assert resolve("module.py", installer.installed) == resolve("./module.py", installer.installed) == wanted
    installer.install(folder / "module.py", check=False)
    assert resolve("toy", installer.installed).search_path == [folder, folder.parent]
    (folder / "other.py").touch()
    with pytest.raises(ModuleNotFound, match=r"no folder '.*other\.py'"):
        resolve("./other.py", installer.installed)
    with pytest.raises(InstallError, match="a module is a folder with a module.py"):
        installer.install(folder / "other.py", check=False)


def test_each_kind_of_missing_module_has_its_own_message(tmp_path: Path, installer: Installer) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModuleNotFound, match="hub install"):
        resolve("toy", installer.installed)
    with pytest.raises(ModuleNotFound, match="no folder"):
        resolve(str(tmp_path / "gone"), installer.installed)
    with pytest.raises(LoadFailed, match=r"module\.py"):
        resolve(str(tmp_path / "empty"), installer.installed)
    with pytest.raises(InvalidInput, match="NAME==VERSION"):
        resolve("toy==", installer.installed)
    with pytest.raises(LoadFailed):
        resolve("..", installer.installed)


@pytest.mark.parametrize("prefix", ["", "./"])
def test_a_file_that_is_not_a_model_is_named_as_a_file_with_what_can_be_served(
    tmp_path: Path, installer: Installer, monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModuleNotFound, match=r"x\.npy': it is a file, and not a model that can be served here \(\*\.onnx, .*hub install"):
        resolve(f"{prefix}x.npy", installer.installed)
