"""Interpreter and environment variables of instances."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

import hubserve
from hubserve.errors import ConfigError, InstallError
from hubserve.kinds import ModuleInfo
from hubserve.registry.environments.install_options import Options
from hubserve.registry.environments.launch import Launch, absolute_folders, launch, with_libraries
from hubserve.registry.environments.module_requirements import Needs
from hubserve.registry.environments.provision import provide
from hubserve.registry.instance_command import instance_environment
from hubserve.registry.progress import silent
from hubserve.server.deployment import make_plans
from hubserve.settings import parse_settings
from tests.conftest import toy


def info(**environment: Any) -> ModuleInfo:
    return ModuleInfo("toy", "1.0.0", "paddlehub", environment=environment)


def test_placeholders_in_a_modules_settings_are_replaced_by_its_folders(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    (tmp_path / "lib").mkdir()
    said = info(environ={"A": "${module}|${environment}|${site_packages}"}, library_path=["lib", "numpy", str(tmp_path)])
    started = launch(said, tmp_path, home, "")
    packages = sysconfig.get_paths()["purelib"]
    assert started.python == ""
    assert started.environ == {
        "A": f"{tmp_path}|{sys.prefix}|{packages}",
        "LD_LIBRARY_PATH": f"{tmp_path / 'lib'}:{packages}/numpy:{tmp_path}",
    }
    assert launch(info(), tmp_path, home, "") == Launch("", {})


def test_placeholders_of_a_separate_environment_are_its_folders(
    packages: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/inherited")
    own = provide(home, Needs(), Options(isolated=True), timeout_s=60, progress=silent).environment
    assert own
    started = launch(info(library_path=["numpy", "bin"]), tmp_path, home, own.key)
    assert started.python == str(own.folder / "bin" / "python")
    assert started.environ["LD_LIBRARY_PATH"] == f"{own.site_packages}/numpy:{own.folder}/bin:/inherited"


def test_a_missing_library_folder_and_a_missing_environment_are_errors(home: Path, tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="library folder 'gone'"):
        launch(info(library_path=["gone"]), tmp_path, home, "")
    with pytest.raises(InstallError, match="Install the module again"):
        launch(info(), tmp_path, home, "3.8-0000000000000000")


def test_library_folders_come_before_existing_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/a:/b")
    assert with_libraries({}, ["/c", "/a"]) == {"LD_LIBRARY_PATH": "/c:/a:/b"}
    assert with_libraries({"LD_LIBRARY_PATH": "/d"}, ["/c"]) == {"LD_LIBRARY_PATH": "/c:/d"}
    monkeypatch.delenv("LD_LIBRARY_PATH")
    assert with_libraries({"A": "b"}, []) == {"A": "b"}
    (tmp_path / "second" / "lib").mkdir(parents=True)
    found = absolute_folders(["lib", "/absolute", "nowhere"], [tmp_path / "first", tmp_path / "second"])
    assert found == [str(tmp_path / "second" / "lib"), "/absolute", str(tmp_path / "first" / "nowhere")]


def test_an_own_environment_sees_hubserve_and_nothing_else_of_this_python(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("PYTHONHOME", "/elsewhere")
    environ = instance_environment(home, [], "/env/bin/python")
    alone = Path(environ["PYTHONPATH"])
    assert os.listdir(alone) == ["hubserve"]
    assert (alone / "hubserve").resolve() == Path(hubserve.__file__).resolve().parent
    assert "PYTHONHOME" not in environ
    assert environ["PATH"].startswith("/env/bin:")
    assert instance_environment(home, [], "/env/bin/python") == environ, "made once"
    assert instance_environment(home, [])["PYTHONPATH"].endswith(":/somewhere")


def test_this_python_finds_hubserve_through_that_folder_only(home: Path) -> None:
    environ = instance_environment(home, [], sys.executable)
    code = "import hubserve.errors, sys; print(hubserve.__file__)"
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.strip().startswith(str(home))


def test_a_servers_settings_cannot_set_what_hub_itself_sets(home: Path) -> None:
    settings = parse_settings({"modules_info": {"shout": {**toy("shout"), "environ": {"PYTHONPATH": "/x"}}}}, "test")
    with pytest.raises(ConfigError, match=r"modules_info.shout.environ sets 'PYTHONPATH'"):
        make_plans(settings)


def test_gpus_are_set_for_one_module_and_hidden_from_another(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    modules = {"shout": {**toy("shout"), "gpu": "1,2", "workers": 3}, "moody": {**toy("moody"), "gpu": ""}, "doubler": toy("doubler")}
    shout, moody, doubler = make_plans(parse_settings({"modules_info": modules}, "test"))
    assert [each.environ["CUDA_VISIBLE_DEVICES"] for each in shout.instances] == ["1", "2", "1"]
    assert shout.instances[0].defaults == {"use_gpu": True}
    assert moody.instances[0].environ["CUDA_VISIBLE_DEVICES"] == ""
    assert "CUDA_VISIBLE_DEVICES" not in doubler.instances[0].environ
    assert moody.instances[0].defaults == doubler.instances[0].defaults == {}
    server = parse_settings({"modules_info": modules, "use_gpu": True, "gpu": 0}, "test")
    assert [plan.instances[0].environ["CUDA_VISIBLE_DEVICES"] for plan in make_plans(server)] == ["1", "", "0"]
    assert [plan.instances[0].defaults for plan in make_plans(server)] == [{"use_gpu": True}, {}, {"use_gpu": True}]
