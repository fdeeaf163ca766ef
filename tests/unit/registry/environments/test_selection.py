"""Test the choice of environment: the Python of hub if that suffices, else the first profile with the missing packages."""

import sys
from pathlib import Path

import pytest

from hubserve.errors import ConfigError, InstallError
from hubserve.kinds.module_scan import Place
from hubserve.registry.environments.code_requirements import missing_on_host, required_names
from hubserve.registry.environments.install_options import Options
from hubserve.registry.environments.interpreters import host
from hubserve.registry.environments.module_requirements import Needs
from hubserve.registry.environments.requirements import Requirements
from hubserve.registry.environments.selection import Choice, choose, predict_choice
from hubserve.registry.progress import silent
from tests.unit.registry.environments.test_profile import write_profile
from tests.unit.registry.environments.wheelhouse import write_wheel

HERE = [host().minor]
PLACE = Place("module.py", 3, False)


@pytest.fixture
def profiles(packages: Path, home: Path) -> Path:
    """Write a profile with an old version and a package that requires it, and one with other names."""
    for name in ("gone_before", "lonely"):
        write_wheel(packages, name, "1.0")
    old = {"conflicted": "conflicted", "wants_one": "wants-one", "numpy": "numpy"}
    write_profile(home, "old", pythons=HERE, order=1, requirements=["conflicted==1.0", "wants_one==1.0", "numpy<2"], provides=old)
    write_profile(
        home,
        "older",
        pythons=HERE,
        order=2,
        requirements=["conflicted==1.0", "gone_before==1.0"],
        provides={"conflicted": "conflicted", "gone_before": "gone_before", "conflicted.fluid": "conflicted"},
    )
    return home


def chosen(home: Path, names: str, lines: tuple[str, ...] = (), **more: str) -> Choice:
    needed = dict.fromkeys(names.split(), PLACE)
    packages = tuple(more.pop("packages", "").split())
    needs = Needs(Requirements((*lines, *packages)), profile=more.pop("module", ""))
    options = Options(packages=packages, **more)  # type: ignore[arg-type]
    found = choose(home, needs, needed, options, silent)
    foreseen = predict_choice(home, needs, needed, options)
    assert foreseen is None or foreseen.profile == found.profile or found.lacks, "what is foreseen comes true, or is explained"
    return found


def pins(choice: Choice) -> set[str]:
    assert choice.resolution is not None
    return set(choice.resolution.lock.pins)


def test_a_module_whose_needs_this_python_meets_runs_there(profiles: Path) -> None:
    assert chosen(profiles, "numpy requests yaml") == Choice(None, "", "it has what its code imports")
    assert chosen(profiles, "numpy", ("packaging",)).why == "it has what requirements.txt and its code ask for"


def test_the_first_profile_with_the_missing_packages_is_chosen(profiles: Path) -> None:
    found = chosen(profiles, "conflicted numpy")
    assert found.profile == "old"
    assert found.why == "its code imports 'conflicted' (module.py, line 3), which this Python does not have"
    assert not found.lacks
    assert {"conflicted==1.0", "wants-one==1.0", "numpy==1.26.9"} <= pins(found)
    assert chosen(profiles, "conflicted gone_before").profile == "older"
    assert chosen(profiles, "conflicted conflicted.fluid").profile == "older", "a name that only old versions have"


def test_if_none_has_everything_the_one_with_most_is_chosen_and_the_rest_is_named(profiles: Path) -> None:
    found = chosen(profiles, "gone_before never_heard_of numpy")
    assert found.profile == "older"
    assert found.lacks == ("no profile has 'never_heard_of' (module.py, line 3), which its code imports",)
    found = chosen(profiles, "never_heard_of")
    assert (found.resolution, found.profile, found.why) == (None, "", "as far as it goes")
    assert "'never_heard_of'" in found.lacks[0]


def test_without_a_python_for_a_profile_this_python_is_used(profiles: Path) -> None:
    for name in ("old", "older"):
        (profiles / "profiles" / f"{name}.json").unlink()
    write_profile(profiles, "ancient", pythons=["3.1"], provides={"conflicted": "conflicted"})
    found = chosen(profiles, "conflicted")
    assert (found.resolution, found.profile) == (None, "")
    assert "the environment profile 'ancient' is made for Python 3.1" in found.lacks[0]
    assert "'conflicted'" in found.lacks[1]


def test_requirements_that_cover_the_imports_suffice(profiles: Path) -> None:
    found = chosen(profiles, "conflicted numpy something_inside", ("conflicted==2.0",))
    assert (found.profile, found.lacks) == ("", ())
    assert "conflicted==2.0" in pins(found)
    found = chosen(profiles, "conflicted", ("wants_two",))  # which brings it
    assert found.profile == ""
    assert {"conflicted==2.0", "wants-two==1.0"} <= pins(found)


def test_requirements_that_lack_an_import_are_added_to_a_profile(profiles: Path) -> None:
    found = chosen(profiles, "conflicted heavy numpy", ("heavy",))
    assert found.profile == "old"
    assert found.why == "its code imports 'conflicted' (module.py, line 3), which requirements.txt does not bring"
    assert {"conflicted==1.0", "wants-one==1.0", "heavy==1.0"} <= pins(found)


def test_the_modules_versions_override_the_profiles(profiles: Path) -> None:
    found = chosen(profiles, "conflicted gone_before", ("conflicted>=2",))
    assert found.profile == "older"
    assert {"conflicted==2.0", "gone-before==1.0"} <= pins(found)
    # packages that it does not import are dropped if they conflict
    found = chosen(profiles, "wants_one numpy", ("heavy", "numpy<2"))
    assert {"wants-one==1.0", "conflicted==1.0"} <= pins(found)
    write_profile(profiles, "old", pythons=HERE, order=1, requirements=["wants_one", "lonely"], provides={"lonely": "lonely"})
    found = chosen(profiles, "lonely", ("conflicted==2.0",))
    assert found.profile == "old"
    assert {"lonely==1.0", "conflicted==2.0"} <= pins(found)
    assert "wants-one==1.0" not in pins(found)


def test_a_profile_that_does_not_run_with_a_pinned_package_is_skipped(profiles: Path) -> None:
    provides = {"conflicted": "conflicted"}
    write_profile(profiles, "old", pythons=HERE, order=1, requirements=["conflicted==1.0"], provides=provides, unfit=["heavy<2"])
    assert chosen(profiles, "conflicted", ("heavy==1.0",)).profile == "older"
    assert chosen(profiles, "conflicted", ("heavy",)).profile == "old"
    assert chosen(profiles, "conflicted").profile == "old"


def test_a_part_that_only_some_versions_have_selects_the_profile_with_such_a_version(profiles: Path) -> None:
    fits = {"conflicted.part": "conflicted"}
    write_profile(profiles, "old", pythons=HERE, order=1, requirements=["heavy"], constraints=["conflicted<2"], fits=fits)
    found = chosen(profiles, "conflicted conflicted.part", ("conflicted>=1",))
    assert found.profile == "old"
    assert {"conflicted==1.0", "heavy==1.0"} <= pins(found)
    found = chosen(profiles, "conflicted conflicted.part", ("conflicted==2.0",))
    assert (found.profile, "conflicted==2.0" in pins(found)) == ("", True), "who pins it knows better"


def test_what_fits_no_profile_is_refused_with_both_reasons(profiles: Path) -> None:
    with pytest.raises(InstallError, match=r"(?s)conflicted.*9\.9.*the profile 'old', which has more, cannot be used"):
        chosen(profiles, "wants_one", ("conflicted==9.9",))


def test_a_named_environment_is_chosen(profiles: Path) -> None:
    found = chosen(profiles, "numpy", profile="older")
    assert (found.profile, found.why) == ("older", "--environment asks for it")
    found = chosen(profiles, "conflicted requests", module="older")
    assert (found.profile, found.why) == ("older", "the module asks for it")
    assert found.lacks == ("the profile 'older' does not have 'requests' (module.py, line 3), which its code imports",)
    found = chosen(profiles, "conflicted", profile="host", module="older")
    assert (found.resolution, found.profile, found.why) == (None, "", "--environment asks for it")
    assert found.lacks == ("this Python does not have 'conflicted' (module.py, line 3), which its code imports",)
    with pytest.raises(ConfigError, match="the environment profile 'oldest' does not exist; did you mean 'older'"):
        chosen(profiles, "numpy", profile="oldest")


def test_packages_of_the_user_are_added(profiles: Path) -> None:
    found = chosen(profiles, "conflicted heavy", packages="heavy")
    assert found.profile == "old"
    assert {"conflicted==1.0", "heavy==1.0"} <= pins(found)
    assert chosen(profiles, "numpy", packages="packaging").resolution is None
    assert "heavy==1.0" in pins(chosen(profiles, "numpy", packages="heavy", profile="older"))
    with pytest.raises(InstallError, match=r"--with asks for packages that this Python lacks: heavy \(not there\)"):
        chosen(profiles, "numpy", packages="heavy", profile="host")


def test_a_profile_that_is_not_automatic_must_be_named(profiles: Path) -> None:
    for name in ("old", "older"):
        (profiles / "profiles" / f"{name}.json").unlink()
    write_profile(profiles, "engine", pythons=HERE, provides={"conflicted": "conflicted"}, automatic=False)
    assert chosen(profiles, "conflicted").profile == ""
    assert chosen(profiles, "conflicted", profile="engine").profile == "engine"


def test_optional_imports_are_not_required(tmp_path: Path) -> None:
    folder, beside = tmp_path / "toy", tmp_path / "elsewhere"
    (beside / "ppocr").mkdir(parents=True)
    (beside / "ppocr" / "__init__.py").touch()
    folder.mkdir()
    (folder / "module.py").write_text(
        "import json, paddlehub, tqdm_of_old\nfrom paddle import fluid\nimport ppocr\nimport numpy as np\n"
        "try:\n    import ujson_of_old\nexcept ImportError:\n    pass\nnp.float\ndef f():\n    import late_one\n"
    )
    needed = required_names(folder, [beside])
    assert sorted(needed) == ["late_one", "numpy", "paddle", "paddle.fluid", "tqdm_of_old"]
    assert needed["late_one"] == Place("module.py", 11, False, True)


def test_this_python_is_checked_without_importing_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_there" / "inner").mkdir(parents=True)
    (tmp_path / "half_there" / "__init__.py").write_text("raise SystemExit('it was imported')")
    (tmp_path / "half_there" / "file.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    asked = ["half_there", "half_there.inner", "half_there.file", "half_there.fluid", "sys", "not_there", "not_there.inner"]
    assert missing_on_host(asked) == ["half_there.fluid", "not_there", "not_there.inner"]
    assert "half_there" not in sys.modules


@pytest.mark.parametrize(
    ("imported", "needed"), [("ppgan", {"ppgan", "paddle"}), ("ppdet", {"ppdet", "paddle", "requests"}), ("tqdm", {"tqdm"})]
)
def test_undeclared_dependencies_of_a_package_are_required_too(tmp_path: Path, imported: str, needed: set[str]) -> None:
    (tmp_path / "module.py").write_text(f"import {imported}.core\n")
    assert set(required_names(tmp_path)) == needed
