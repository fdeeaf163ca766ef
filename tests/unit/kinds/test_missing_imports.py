"""Test the messages about missing imports: a package is named only if it is certain."""

from pathlib import Path

import pytest

from hubserve.errors import HubError, LoadFailed, MissingDependency
from hubserve.kinds import import_hooks, project_imports
from hubserve.kinds.module_failures import failures_named
from hubserve.kinds.package_names import package_of
from hubserve.kinds.project_imports import surroundings


@pytest.fixture(autouse=True)
def _nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the modules that earlier tests loaded in this process."""
    for name in [*project_imports.SURROUNDINGS]:
        monkeypatch.delitem(project_imports.SURROUNDINGS, name)


def message_for(name: str, **more: str) -> str:
    with pytest.raises(MissingDependency) as caught, failures_named("cannot import 'm'"):
        raise ModuleNotFoundError(f"No module named '{name}'", name=name, **more)
    return caught.value.message


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("cv2", "opencv-python-headless"),
        ("PIL.Image", "Pillow"),
        ("yaml", "PyYAML"),
        ("sklearn.svm", "scikit-learn"),
        ("skimage", "scikit-image"),
    ],
)
def test_a_known_import_names_its_package(name: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(__import__("sys").modules, name.partition(".")[0], raising=False)
    text = message_for(name)
    assert f"Add {package} to its requirements.txt" in text
    assert f"(it imports '{name.partition('.')[0]}')" in text
    assert package_of("tqdm") == "tqdm"


@pytest.mark.parametrize("name", ["tools", "utils", "ppocr", "deploy.x", "config", "python", "no_such_package"])
def test_no_package_is_named_for_an_unknown_import(name: str) -> None:
    text = message_for(name)
    top = name.partition(".")[0]
    assert package_of(name) == ""
    assert f"it imports '{top}', which is not installed." in text
    assert f"install {top}" not in text
    assert f"Add {top}" not in text
    assert "from its folder in that project" in text


def test_the_searched_folders_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = tmp_path / "deploy" / "clas"
    monkeypatch.setitem(project_imports.SURROUNDINGS, "clas", surroundings(origin))
    text = message_for("tools")
    assert f"no longer exists: '{origin}'. Restore it, or install the module again from its new place." in text
    origin.mkdir(parents=True)
    assert f"does not lie beside the module's folder '{origin}'." in message_for("tools")
    (tmp_path / "deploy").chmod(0o777)
    monkeypatch.setitem(project_imports.SURROUNDINGS, "clas", surroundings(origin))
    assert f"not looked at: '{tmp_path / 'deploy'}', where every user of this machine can put files" in message_for("tools")


def test_a_missing_part_of_an_installed_package_is_reported_with_the_packages_path() -> None:
    text = message_for("json.no_such_part")
    assert "it imports 'json.no_such_part', and the 'json' that is found here (" in text
    assert "__init__.py" in text


def test_a_missing_file_of_the_module_itself_is_not_taken_for_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(import_hooks.LOADED, "levit", tmp_path)
    assert f"it imports its own 'vision.layers', which is not in its folder '{tmp_path}'." in message_for("levit.vision.layers")


def test_an_error_that_names_no_import_is_passed_on_as_it_is() -> None:
    with pytest.raises(HubError, match="torch is not for this machine") as caught, failures_named("cannot import 'm'"):
        raise ModuleNotFoundError("torch is not for this machine")
    assert type(caught.value) is LoadFailed
