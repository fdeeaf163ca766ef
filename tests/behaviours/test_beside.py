"""A module imports what lies beside the folder that it was installed from, wherever it runs; once that is gone, the error says so."""

import json
import os
from pathlib import Path

import pytest
from flask import Flask

from hubserve.flask import blueprint
from hubserve.kinds.project_imports import folders_beside
from hubserve.registry.environments.code_requirements import required_names
from tests.conftest import hub, servers
from tests.unit.registry.toys import pack, write_module

SOURCE = """
import subprocess
import sys

from hubserve.module import moduleinfo, runnable, serving

from common import words
from tools.deep.twice import twice


@moduleinfo(name="part", version="1.0.0", summary="A part of a project")
class Part:
    @serving
    def say(self, text, how="here"):
        if how == "interpreter":
            code = "from tools.deep.twice import twice; import sys; print(twice(sys.argv[1]), end='')"
            return subprocess.run([sys.executable, "-c", code, text], capture_output=True, text=True, check=True, cwd="/").stdout
        if how == "late":
            from tools.late import shout
            return shout(text)
        return twice(text) + words.END

    @runnable
    def run(self, argv):
        return self.say(argv[0])
"""


def make_project(folder: Path) -> Path:
    """A project with a module in ``deploy/modules/part``, which imports from two folders above it; returns the module's."""
    files = {
        "pyproject.toml": "",
        "tools/deep/twice.py": "def twice(text):\n    return text * 2\n",
        "tools/late.py": "def shout(text):\n    return text.upper()\n",
        "deploy/common/__init__.py": "",
        "deploy/common/words.py": "END = '!'\n",
        "deploy/modules/part/__init__.py": "",
        "deploy/modules/part/module.py": SOURCE,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder / "deploy" / "modules" / "part"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Path:
    """The module's folder; it is installed from there, from another working directory."""
    folder = make_project(tmp_path_factory.mktemp("projects") / "project")
    done = hub("install", folder, home=home, cwd="/")
    assert done.returncode == 0, done.stderr
    assert hub("run", "part", "ab", home=home, cwd="/").stdout == "abab!\n"
    return folder


def test_it_is_served_from_any_folder_and_programs_that_it_starts_import_the_same(part: Path, home: Path, tmp_path: Path) -> None:
    with servers(home, tmp_path) as start:
        server = start({"part": {}})
        assert server.results("part", text="ab") == "abab!"
        assert server.results("part", text="ab", how="late") == "AB"
        assert server.results("part", text="ab", how="interpreter") == "abab"


def test_a_module_that_is_run_from_its_folder_finds_them_too(part: Path, home: Path) -> None:
    assert hub("run", part / "module.py", "ab", home=home, cwd="/").stdout == "abab!\n"


def test_in_a_flask_application_it_finds_them_too(part: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_HOME", str(home))
    app, made = Flask("app"), blueprint(["part"])
    app.register_blueprint(made)
    try:
        assert app.test_client().post("/predict/part", json={"text": "ab"}).get_json()["results"] == "abab!"
    finally:
        made.close()


def test_a_bundle_lists_imports_that_it_lacks_and_the_other_machine_reports_them(part: Path, home: Path, tmp_path: Path) -> None:
    made = hub("bundle", "part", "-o", tmp_path / "part.bundle.tar", home=home)
    assert "part imports common, tools from beside the folder that it was installed from; that is not in the bundle" in made.stdout
    packed = hub("pack", part, "-o", tmp_path / "part.tar.gz", home=home)
    assert "Note: the module imports common, tools from beside its folder, which is not packed" in packed.stdout
    for file in ("part.bundle.tar", "part.tar.gz"):
        refused = hub("install", tmp_path / file, home=tmp_path / "other", cwd="/")
        assert refused.returncode == 1
        assert "it imports 'common', which is not installed. If 'common' is a part of the project" in refused.stderr
    path = os.pathsep.join([str(part.parents[1]), str(part.parents[2])])
    taken = hub("install", tmp_path / "part.bundle.tar", home=tmp_path / "other", cwd="/", environ={"PYTHONPATH": path})
    assert taken.returncode == 0, taken.stderr


def test_what_an_archive_says_of_its_own_origin_is_not_believed(part: Path, tmp_path: Path) -> None:
    folder = write_module(tmp_path / "evil" / "part", "evil", extra="import common")
    (folder / ".hubserve.json").write_text(json.dumps({"schema_version": 1, "source_folder": str(part)}))
    for source in (pack(tmp_path / "evil.tar", folder, "w", "part"), folder):
        refused = hub("install", source, home=tmp_path / "home")
        assert refused.returncode == 1
        assert "it imports 'common', which is not installed" in refused.stderr


def test_the_error_names_the_folder_that_is_gone(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "project")
    assert hub("install", folder, home=tmp_path / "home").returncode == 0
    (tmp_path / "project").rename(tmp_path / "moved")
    gone = hub("run", "part", "ab", home=tmp_path / "home")
    assert gone.returncode == 1
    assert f"'{folder}'. Restore it, or install the module again from its new place." in gone.stderr
    moved = tmp_path / "moved" / folder.relative_to(tmp_path / "project")
    assert hub("install", moved, home=tmp_path / "home").returncode == 0
    assert hub("run", "part", "ab", home=tmp_path / "home").stdout == "abab!\n"


def test_packages_that_are_needed_beside_the_module_decide_where_it_runs(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "project")
    (tmp_path / "project" / "tools" / "deep" / "twice.py").write_text(
        "from ..other import value\nfrom common.words import END\ntry:\n    import not_needed\nexcept ImportError:\n    pass\n"
        "def twice(text):\n    import only_now\n"
    )
    (tmp_path / "project" / "tools" / "other.py").write_text("import needed.inside\nvalue = 1\n")
    (tmp_path / "project" / "tools" / "unused.py").write_text("import for_training\n")
    needed = required_names(folder, folders_beside(folder))
    assert {name: (place.file, place.line) for name, place in needed.items()} == {"needed": ("tools/other.py", 1)}
