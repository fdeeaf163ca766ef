"""Requirements of a module, in its source or in hub.json."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest

from hubserve.errors import InstallError, LoadFailed
from hubserve.kinds import ModuleInfo, find_kind
from hubserve.registry.environments.host_compat import why_not_host
from hubserve.registry.environments.host_packages import unmet_requirements
from hubserve.registry.environments.install_options import Options
from hubserve.registry.environments.module_requirements import read_needs
from hubserve.registry.environments.requirements import Requirements
from tests.unit.registry.toys import write_module


def with_keywords(folder: Path, keywords: str) -> Path:
    write_module(folder)
    source = folder / "module.py"
    source.write_text(source.read_text().replace('summary="For tests"', keywords))
    return folder


def info(**environment: Any) -> ModuleInfo:
    return ModuleInfo("toy", "1.0.0", "paddlehub", environment=environment)


def test_the_decorator_is_read_without_running_the_module(tmp_path: Path) -> None:
    folder = with_keywords(tmp_path / "toy", 'requires_python=">=3.8,<3.10", environment={"isolated": True, "environ": {"A": "b"}}')
    needs = read_needs(folder, find_kind(folder).describe(folder))
    assert (needs.requires_python, needs.isolated, dict(needs.environ)) == (">=3.8,<3.10", True, {"A": "b"})


def test_hub_json_is_read_for_modules_that_paddlehub_loads_as_well(tmp_path: Path) -> None:
    said = {"requires_python": "<3.9", "environment": {"library_path": ["lib"]}}
    folder = write_module(tmp_path / "toy", hub__json=json.dumps(said))
    needs = read_needs(folder, find_kind(folder).describe(folder))
    assert (needs.requires_python, needs.library_path) == ("<3.9", ("lib",))


@pytest.mark.parametrize(
    ("keywords", "content", "word"),
    [
        ('requires_python="<" + "3.9"', None, "literal"),
        ("requires_python=3.8", None, "wrong type"),
        ('environment="isolated"', None, "wrong type"),
        ('requires_python="<3.9"', '{"requires_python": "<3.9"}', "both"),
        ("", '{"python": "3.8"}', "unknown key 'python'"),
        ("", "[]", "JSON object"),
        ("", "{", "JSON"),
    ],
)
def test_invalid_requirements_are_refused_with_their_place(tmp_path: Path, keywords: str, content: str | None, word: str) -> None:
    folder = with_keywords(tmp_path / "toy", keywords)
    if content is not None:
        (folder / "hub.json").write_text(content)
    with pytest.raises(LoadFailed, match=word):
        find_kind(folder).describe(folder)


@pytest.mark.parametrize(
    ("environment", "word"),
    [
        ({"isolatd": True}, "did you mean 'isolated'"),
        ({"isolated": 1}, "true or false"),
        ({"profile": ["paddlehub"]}, "the name of an environment profile"),
        ({"environ": {"A": 1}}, "environ"),
        ({"environ": {"PYTHONPATH": "x"}}, "PYTHONPATH"),
        ({"environ": {"A=B": "x"}}, "not a valid name"),
        ({"library_path": "lib"}, "list of folders"),
    ],
)
def test_an_environment_object_is_strict(tmp_path: Path, environment: dict[str, Any], word: str) -> None:
    with pytest.raises(InstallError, match=word):
        read_needs(tmp_path, info(**environment))


def test_an_invalid_range_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match=r"Write it like >=3.8"):
        read_needs(tmp_path, info()._replace(requires_python="3.8 or so"))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("numpy", ""),
        (f"NumPy=={numpy.__version__}", ""),
        ("numpy<1", "has"),
        ("no-such-package-anywhere", "not there"),
        ('no-such-package-anywhere; python_version < "3"', ""),
        ("hypothesis[crosshair]", "crosshair"),
        ("numpy @ https://example.org/numpy.whl", "numpy"),
    ],
)
def test_requirements_are_compared_with_this_python(line: str, reason: str) -> None:
    missing = unmet_requirements(Requirements((line,)))
    assert reason in " ".join(missing)
    assert bool(missing) == bool(reason)


@pytest.mark.parametrize(
    ("installed", "line", "reason"),
    [
        ("opencv-python-headless", "opencv-python>=4.6", ""),
        ("opencv-python", "opencv-python-headless", ""),
        ("opencv-contrib-python", "OpenCV_Python", ""),
        ("opencv-contrib-python-headless", "opencv-contrib-python", ""),
        ("opencv-python-headless", "opencv-python<4.9", "opencv-python<4.9 (has opencv-python-headless 4.11)"),
        ("opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python (not there)"),
        ("opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python-headless (not there)"),
    ],
)
def test_a_build_of_opencv_stands_in_for_another(
    installed: str, line: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    about = tmp_path / f"{installed.replace('-', '_')}-4.11.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {installed}\nVersion: 4.11\n")
    assert " ".join(unmet_requirements(Requirements((line,)))) == reason


def test_a_constraint_applies_to_installed_packages_only() -> None:
    assert unmet_requirements(Requirements(("numpy",), ("numpy<1", "no-such-package-anywhere<1"))) == [f"numpy<1 (has {numpy.__version__})"]


def test_a_module_shares_this_python_unless_there_is_a_reason_against(tmp_path: Path) -> None:
    plain = read_needs(tmp_path, info())
    assert why_not_host(plain) == ""
    assert "asks for its own" in why_not_host(read_needs(tmp_path, info(isolated=True)))
    assert "--isolated" in why_not_host(plain, Options(isolated=True))
    assert "--python says 3.7" in why_not_host(plain, Options(python="3.7"))
    assert "requires Python <3" in why_not_host(plain._replace(requires_python="<3"))
    assert "no-such" in why_not_host(plain._replace(requirements=Requirements(("no-such-package-anywhere",))))
