"""Test imports beside the folder that a module was installed from: the folders that are searched."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hubserve.kinds import project_imports
from hubserve.kinds.project_imports import find_in, origin_of, surroundings
from hubserve.kinds.project_requirements import requirements_beside


def write(path: Path, text: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Make a project with a module in ``deploy/serving/clas``."""
    project = tmp_path / "neighbours" / "Project"
    write(project / "deploy" / "serving" / "clas" / "module.py")
    write(project / "setup.py")
    return project


def found(folders: "tuple[Path, ...]", name: str) -> str:
    spec = find_in([str(each) for each in folders], name)
    assert spec is not None, name
    return str(spec.origin or list(spec.submodule_search_locations or ()))


def test_the_folders_above_count_up_to_the_projects_own(project: Path) -> None:
    around = surroundings(project / "deploy" / "serving" / "clas")
    assert around.folders == (project / "deploy" / "serving", project / "deploy", project)
    assert not around.gone
    (project / "setup.py").unlink()
    assert len(surroundings(project / "deploy" / "serving" / "clas").folders) == 4, "without a sign of the project, four levels"


@pytest.mark.parametrize("sign", [".git", "pyproject.toml", ".hg"])
def test_the_files_of_a_projects_top_folder(project: Path, sign: str) -> None:
    (project / "deploy" / sign).mkdir()
    assert surroundings(project / "deploy" / "serving" / "clas").folders == (project / "deploy" / "serving", project / "deploy")
    (project / "deploy" / "serving" / "clas" / sign).mkdir()
    assert surroundings(project / "deploy" / "serving" / "clas").folders == (), "a module that is a project of its own"


def test_world_writable_folders_are_never_searched(project: Path) -> None:
    write(project / "tools.py")
    os.chmod(project / "deploy", 0o777)
    around = surroundings(project / "deploy" / "serving" / "clas")
    assert around.folders == (project / "deploy" / "serving",)
    assert around.refused == str(project / "deploy")


def test_the_users_own_folder_and_the_root_are_not_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "work" / "clas").mkdir(parents=True)
    assert surroundings(tmp_path / "work" / "clas").folders == (tmp_path / "work",)
    assert surroundings(Path("/clas")).folders == ()


def test_packages_files_and_packages_without_init_are_found_and_folders_of_data_are_not(project: Path) -> None:
    write(project / "deploy" / "utils" / "__init__.py")
    write(project / "deploy" / "one.py")
    write(project / "tools" / "infer" / "predict.py")
    write(project / "data" / "label.txt")
    folders = surroundings(project / "deploy" / "serving" / "clas").folders
    assert found(folders, "utils") == str(project / "deploy" / "utils" / "__init__.py")
    assert found(folders, "one") == str(project / "deploy" / "one.py")
    assert found(folders, "tools") == str([str(project / "tools")])
    assert [find_in([str(each) for each in folders], name) for name in ("data", "setup_tools", "nothing")] == [None] * 3


def test_the_nearest_of_two_folders_is_used(project: Path) -> None:
    write(project / "utils" / "__init__.py")
    near = write(project / "deploy" / "utils" / "__init__.py")
    assert found(surroundings(project / "deploy" / "serving" / "clas").folders, "utils") == str(near)


def run_beside(project: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new process that finds imports beside the project's module."""
    script = (
        "from pathlib import Path; from hubserve.kinds.project_imports import record_origin, search_beside; "
        f"record_origin('clas', Path({str(project / 'deploy' / 'serving' / 'clas')!r})); search_beside('clas', Path('/')); {code}"
    )
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd="/")


def test_a_project_that_is_a_package_itself_is_found_under_its_own_name(project: Path) -> None:
    write(project / "__init__.py", "from .project import thing\nimport no_such_package\n")
    write(project / "project.py", "thing = 1\n")
    write(project / "deploy" / "__init__.py")
    write(project / "deploy" / "helper.py", "value = 7\n")
    done = run_beside(project, "from project.deploy.helper import value; print(value)")
    assert done.stdout == "7\n"
    assert "no_such_package" in done.stderr, "what its own __init__.py lacks is logged, and its parts work without"


def test_an_installed_package_is_never_hidden(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project / "deploy" / "json.py", "raise AssertionError")
    write(project / "deploy" / "numpy" / "__init__.py", "raise AssertionError")
    done = run_beside(project, "import json, numpy; print(numpy.zeros(1)[0])")
    assert done.stdout == "0.0\n"


def test_the_origin_of_a_module_is_in_its_manifest(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = home / "modules" / "clas" / ".1.0.0-00000000"
    for text, wanted in [
        (f'{{"source_folder": "{tmp_path}/x"}}', tmp_path / "x"),
        ('{"source_folder": ".assets/deploy/clas"}', None),
        ('{"source_folder": ""}', None),
        ('{"source_folder": 3}', None),
        ("[", None),
    ]:
        write(place / ".hubserve.json", text)
        assert origin_of(place) == wanted
    # a manifest is believed only where hub wrote it
    stray = write(tmp_path / "stray" / ".hubserve.json", '{"source_folder": "/etc/x"}').parent
    assert origin_of(stray) == stray
    assert origin_of(home / "tmp" / "install-1" / "clas") is None
    monkeypatch.setattr(project_imports, "SURROUNDINGS", {})
    project_imports.search_beside("stray", stray)
    assert project_imports.SURROUNDINGS["stray"].origin == stray


def test_imports_that_hubserve_provides_are_not_followed_beside_a_module(tmp_path: Path) -> None:
    (tmp_path / "paddlehub" / "module").mkdir(parents=True)
    (tmp_path / "paddlehub" / "__init__.py").write_text("import a_package_of_the_checkout\n")
    (tmp_path / "paddlehub" / "module" / "module.py").write_text("import another_one\n")
    (tmp_path / "setup.py").touch()
    folder = tmp_path / "modules" / "mine"
    folder.mkdir(parents=True)
    (folder / "module.py").write_text("import paddlehub as hub\nfrom paddlehub.module.module import moduleinfo\n")
    assert requirements_beside(folder, [folder.parent, tmp_path]) == {}
