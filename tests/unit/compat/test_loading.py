"""Test ``hub.Module(...)`` in users' scripts, outside of any server."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from hubserve.registry.installer import Installer
from tests.conftest import MODULES, ROOT
from tests.unit.compat.script import run_script
from tests.unit.registry.toys import write_module

SCRIPT = "import paddlehub as hub, sys\nprint(hub.Module(directory=sys.argv[1]).serving_method(['ab'])[0]['text'], __name__)\n"


def run_python(*arguments: object, home: Path, python: str = sys.executable, **environ: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "HUB_HOME": str(home), "PYTHONPATH": str(ROOT), **environ}
    return subprocess.run([python, *map(str, arguments)], env=environment, capture_output=True, text=True, check=False)


def test_one_import_makes_the_name_importable(home: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("import hubserve.compat\n" + SCRIPT)
    assert run_python(script, MODULES / "old_style", home=home).stdout.split() == ["ba", "__main__"]


def test_a_script_runs_unchanged_with_its_own_arguments_and_folder(home: Path, tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("")
    script = tmp_path / "script.py"
    script.write_text("import beside\n" + SCRIPT)
    assert run_python(script, MODULES / "old_style", home=home).returncode == 1, "without it there is no such name"
    done = run_python("-m", "hubserve.compat", script, MODULES / "old_style", home=home)
    assert done.stdout.split() == ["ba", "__main__"], done.stderr


def test_a_real_paddlehub_comes_first(home: Path, tmp_path: Path) -> None:
    (tmp_path / "paddlehub.py").write_text("real = True\n")
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    done = run_python("-c", "import hubserve.compat, paddlehub; print(paddlehub.real)", home=home, PYTHONPATH=path)
    assert done.stdout.strip() == "True"


def test_the_name_can_be_installed_into_an_environment_and_removed(home: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", system_site_packages=True, with_pip=False)
    python = str(tmp_path / "venv" / "bin" / "python")
    here = next(path for path in sys.path if path.endswith("site-packages"))
    path = os.pathsep.join([str(ROOT), here])

    def find() -> bool:
        code = "import importlib.util; print(importlib.util.find_spec('paddlehub') is not None)"
        return run_python("-c", code, home=home, python=python, PYTHONPATH=path).stdout.strip() == "True"

    assert not find()
    installed = run_python("-m", "hubserve.compat", "--install", home=home, python=python, PYTHONPATH=path)
    assert "works" in installed.stdout
    assert find()
    assert run_python("-m", "hubserve.compat", "--uninstall", home=home, python=python, PYTHONPATH=path).returncode == 0
    assert not find()
    assert run_python("-m", "hubserve.compat", home=home).returncode == 2


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home with two versions of a module."""
    home = tmp_path_factory.mktemp("versions")
    for version in ("1.9.0", "1.10.0"):
        source = write_module(tmp_path_factory.mktemp("source"), "my-toy", version)
        (source / "module.py").write_text((source / "module.py").read_text().replace("hubserve.module", "paddlehub.module.module"))
        Installer(home).install(source, check=False)
    return home


@pytest.mark.parametrize(
    ("asked", "version"),
    [("", "1.10.0"), ("1.9.0", "1.9.0"), ("1.9", "1.9.0"), ("<1.10", "1.9.0"), (">=1.9.5", "1.10.0"), ("==1.10", "1.10.0")],
)
def test_a_version_is_chosen_by_name_and_condition(versions: Path, asked: str, version: str) -> None:
    script = f"""
    import paddlehub as hub
    settings = dict(source="https://x/y.git", update=True, branch="b", ignore_env_mismatch=True)
    print(hub.Module(name="my-toy", version={asked!r}, directory="/nowhere", **settings).version)
    """
    assert run_script(script, versions).strip() == version


def test_a_module_that_cannot_be_loaded_is_reported(versions: Path, tmp_path: Path) -> None:
    script = f"""
    import paddlehub as hub
    missing = [dict(name="my-toy", version=">2"), dict(name="lac", source="https://x/y.git")]
    for settings in [*missing, dict(directory={str(tmp_path)!r}), {{}}]:
        try:
            hub.Module(**settings)
        except Exception as error:
            print(type(error).__name__, error)
    try:
        hub.Module("lac")
    except TypeError as error:
        print(error)
    """
    lines = run_script(script, versions).splitlines()
    assert "installed as 1.9.0, 1.10.0, and >2 was requested" in lines[0]
    assert "from https://x/y.git with 'hub install'" in lines[1]
    assert lines[2].startswith("InvalidHubModule")
    assert "is not a valid module" in lines[2]
    assert "needs name=" in lines[3]
    assert "keyword arguments only" in lines[4]


def test_a_module_that_paddlehub_installed_itself_is_loaded_and_imported_by_others(home: Path) -> None:
    write_module(home / "modules" / "lac" / "assets")
    write_module(home / "modules" / "lac", "lac", "2.2.0", helper__py="def cut(text):\n    return text.split()\n")
    script = """
    import paddlehub as hub
    print(hub.Module(name="lac", version=">=2").say("x"))
    from lac.helper import cut
    print(cut("a b"))
    """
    assert run_script(script, home).splitlines() == ["x", "['a', 'b']"]


def test_initialize_is_called_where_there_is_one_and_the_constructor_otherwise(home: Path, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "module.py").write_text(
        "import paddlehub as hub\nfrom paddlehub.module.module import moduleinfo\n"
        '@moduleinfo(name="old", version="1.0.0")\nclass Old(hub.Module):\n'
        "    def _initialize(self, a=1):\n        self.seen = (a, self.directory, self.name)\n"
    )
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "module.py").write_text(
        "from paddlehub.module.module import moduleinfo, serving, runnable\n"
        "class Base:\n    @serving\n    def answer(self):\n        return 'base'\n"
        "    @runnable\n    def run(self, argv):\n        return argv\n"
        '@moduleinfo(name="new", version="1.0.0")\nclass New(Base):\n'
        "    def __init__(self, a=1):\n        super().__init__()\n        self.seen = (a, self.directory, self.name)\n"
        "    def answer(self):\n        return 'own, and ' + super().answer()\n"
    )
    script = f"""
    import json, os
    import paddlehub as hub
    from paddlehub.module.module import RunModule
    seen = []
    for name in ("old", "new"):
        module = hub.Module(directory=os.path.join({str(tmp_path)!r}, name), a=2)
        seen.append([*module.seen, isinstance(module, RunModule), module.serving_func_name, module.is_runnable])
    print(json.dumps([seen, module.answer(), module._run_func(["x"]), module.sub_modules(), module.get_py_requirements()]))
    """
    seen, answer, ran, inner, required = json.loads(run_script(script, home))
    assert seen[0] == [2, str(tmp_path / "old"), "old", True, None, False]
    assert seen[1] == [2, str(tmp_path / "new"), "new", True, "answer", True]
    assert (answer, ran, inner, required) == ("own, and base", ["x"], {}, [])


def test_an_installed_module_finds_its_model_where_it_was_installed_from(home: Path, tmp_path: Path) -> None:
    (tmp_path / "src" / "inference").mkdir(parents=True)
    source = write_module(tmp_path / "src" / "toy")
    text = (source / "module.py").read_text()
    text += "\n    def __init__(self):\n        from hubserve.module import find_folder\n"
    (source / "module.py").write_text(text + "        self.model = find_folder('../inference', self.directory)\n")
    Installer(home).install(source, check=False)
    script = """
    import os
    import paddlehub as hub
    os.chdir("/")
    print(hub.Module(name="toy").model)
    """
    assert run_script(script, home).strip() == str(tmp_path / "src" / "inference")
