"""Models of engines that this Python lacks run in the environment of the engine's profile, which is built only where asked."""

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from hubserve.engines import engine_class
from hubserve.engines.selection import is_installed
from hubserve.engines.table import ENGINES
from hubserve.errors import InstallError
from hubserve.gateway.triton_deployment import plan_model, plan_stores
from hubserve.registry.environments.engine_environment import engine_launch, environment_of
from hubserve.registry.environments.environment_record import all_environments, environments_dir, folders
from hubserve.registry.environments.install_options import Options
from hubserve.registry.environments.module_requirements import Needs
from hubserve.registry.environments.profile import get_profile
from hubserve.registry.environments.provision import provide
from hubserve.registry.environments.requirements import Requirements
from hubserve.registry.environments.serving_environment import serving_environment
from hubserve.registry.installer import Installer
from hubserve.registry.progress import silent
from hubserve.registry.resolve import resolve
from hubserve.settings import parse_settings
from tests.unit.registry.environments.test_profile import write_profile

pytestmark = pytest.mark.skipif(is_installed("megengine"), reason="MegEngine is installed in this Python, so it needs no environment")
MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture
def profile(packages: Path, home: Path) -> Path:
    """Replace the profile of MegEngine by one of small packages for this Python."""
    more: dict[str, Any] = {"size_mb": 2200, "no_deps": ["wants_two==1.0"], "environ": {"FROM_PROFILE": "yes"}}
    return write_profile(home, "megengine", pythons=[MINOR], **more)


def stored(store: Path, name: str = "m") -> Path:
    """Write a model for MegEngine into a model store; it is planned, but not loaded here."""
    version = store / name / "1"
    version.mkdir(parents=True)
    (version / "model.mge").write_bytes(b"not loaded here")
    return store / name


def test_every_engine_outside_this_python_has_a_profile_that_provides_its_package(home: Path) -> None:
    for name in ENGINES:
        cls = engine_class(name)
        if cls.profile:
            assert (cls.package or name) in get_profile(home, cls.profile).provides


def test_a_missing_environment_is_not_built_unasked(profile: Path, home: Path) -> None:
    with pytest.raises(InstallError) as caught:
        engine_launch(home, "megengine", "model 'm'", build=False)
    assert caught.value.message.startswith("model 'm' is computed by the engine megengine, which this Python does not have")
    assert "hub env build megengine' (about 2.2 GB)" in caught.value.message
    assert "--build-environments" in caught.value.message
    assert not folders(home)


def test_it_is_built_where_asked_with_its_size_in_the_log_first(profile: Path, home: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "hubserve"):
        launched = engine_launch(home, "megengine", "model 'm'", build=True)
    (environment,) = all_environments(home)
    assert launched is not None
    assert launched.python == str(environment.executable)
    assert launched.environ["FROM_PROFILE"] == "yes"
    lines = [record.getMessage() for record in caplog.records]
    size = next(index for index, line in enumerate(lines) if "about 2.2 GB" in line)
    assert size < next(index for index, line in enumerate(lines) if "making an environment" in line)
    again = engine_launch(home, "megengine", "model 'm'", build=False)
    assert again == launched
    assert environment_of(home, "megengine") == environment


def test_packages_without_their_requirements_are_installed_beside_others_that_these_would_exclude(profile: Path, home: Path) -> None:
    engine_launch(home, "megengine", "model 'm'", build=True)
    (environment,) = all_environments(home)
    names = {pin.replace("_", "-") for pin in environment.pins}
    assert {"conflicted==1.0", "wants-two==1.0"} <= names  # wants_two requires conflicted 2.0


def test_without_a_fitting_python_the_message_says_which_would_fit_and_which_were_found(packages: Path, home: Path) -> None:
    write_profile(home, "megengine", pythons=["3.99"])
    for build in (False, True):
        with pytest.raises(InstallError, match=r"'megengine' is made for Python 3\.99.*Found: .*\(/.*Install one") as caught:
            engine_launch(home, "megengine", "model 'm'", build=build)
    assert sys.version.split()[0] in caught.value.message


def test_models_of_a_store_run_in_it_and_others_are_served_without_it(profile: Path, home: Path, tmp_path: Path) -> None:
    stored(tmp_path / "store")
    settings = parse_settings({"model_store": [str(tmp_path / "store")]}, "test")
    (plan,) = plan_stores(settings)
    assert "hub env build megengine" in plan.error
    (plan,) = plan_stores(parse_settings({"model_store": [str(tmp_path / "store")], "build_environments": True}, "test"))
    (environment,) = all_environments(home)
    assert not plan.error
    assert {spec.python for spec in plan.instances} == {str(environment.executable)}
    assert all(spec.environ["FROM_PROFILE"] == "yes" for spec in plan.instances)


def test_a_named_engine_decides_the_environment(profile: Path, home: Path, tmp_path: Path) -> None:
    folder = stored(tmp_path / "store")
    (folder / "config.pbtxt").write_text('backend: "megengine" parameters { key: "engine" value { string_value: "onnxruntime" } }')
    (plan,) = plan_model(folder, parse_settings({"model_store": [str(tmp_path / "store")]}, "test"))
    assert {spec.python for spec in plan.instances} == {""}


@pytest.mark.parametrize("backend", ["megengine", "python"])
def test_a_profile_in_the_settings_of_a_stored_model_is_built_and_used(packages: Path, home: Path, tmp_path: Path, backend: str) -> None:
    write_profile(home, "mine", pythons=[MINOR], environ={"FROM_PROFILE": "mine"})
    folder = stored(tmp_path / "store")
    (folder / "1" / "model.py").write_text("")
    (folder / "config.pbtxt").write_text(f'backend: "{backend}"')
    settings: dict[str, Any] = {"model_store": [str(tmp_path / "store")], "modules_info": {"m": {"environment": "mine"}}}
    (plan,) = plan_model(folder, parse_settings(settings, "test"))
    (environment,) = all_environments(home)
    assert {(spec.python, spec.environ["FROM_PROFILE"]) for spec in plan.instances} == {(str(environment.executable), "mine")}
    settings["modules_info"]["m"]["environment"] = "host"
    (plan,) = plan_model(folder, parse_settings(settings, "test"))
    assert {spec.python for spec in plan.instances} == {""}


def test_a_model_file_that_is_served_without_an_install_needs_it(profile: Path, home: Path, tmp_path: Path) -> None:
    stored(tmp_path)
    found = resolve(str(tmp_path / "m" / "1" / "model.mge"))
    with pytest.raises(InstallError, match="'model' is computed by the engine megengine.*hub env build megengine"):
        serving_environment(home, found)
    key = serving_environment(home, found, build=True)
    assert (environments_dir(home) / key).is_dir()
    assert serving_environment(home, found) == key
    assert serving_environment(home, found, "host") == ""


def test_an_install_builds_it_and_records_why(profile: Path, home: Path, tmp_path: Path) -> None:
    graph = stored(tmp_path) / "1" / "model.mge"
    steps: list[str] = []
    result = Installer(home).install(str(graph), check=False, progress=lambda step, *_: steps.append(step))  # type: ignore[arg-type]
    assert (result.manifest.chosen.profile, result.manifest.chosen.why) == ("megengine", "the engine megengine needs it")
    assert any("about 2.2 GB" in step for step in steps)
    assert json.loads((result.version_dir / "hub-model.json").read_text())["file"] == "model.mge"


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["uv", "pip"], indirect=True)
def test_packages_whose_setup_needs_pkg_resources_are_built_with_old_setuptools(tool: str, home: Path) -> None:
    """flowvision 0.2.2 has no wheel; from the package index."""
    needs = Needs(Requirements(("flowvision==0.2.2",)), isolated=True)
    (environment, built) = provide(home, needs, Options(), timeout_s=60, progress=silent)
    assert built
    assert environment is not None
    assert "flowvision==0.2.2" in environment.pins
