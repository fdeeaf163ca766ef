"""Profiles are read from their files; invalid ones are refused with the reason."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from hubserve.errors import ConfigError
from hubserve.registry.environments.profile import OWN_FOLDER, all_profiles, get_profile, known_packages, read_profile
from hubserve.registry.environments.profile_merge import names_in
from tests.conftest import ROOT

OWN = sorted(path.stem for path in OWN_FOLDER.glob("*.json"))


def write_profile(home: Path, name: str, **more: Any) -> Path:
    """Write a user's profile into a home."""
    document = {"description": f"for {name}", "pythons": ["3.8"], "requirements": ["conflicted==1.0"], "provides": {}, **more}
    path = home / "profiles" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("name", OWN)
def test_a_profile_has_the_package_of_every_name_that_it_provides(name: str, home: Path) -> None:
    profile = get_profile(home, name)
    brought = names_in([*profile.wanted.lines, *profile.no_deps])
    assert [each for each in profile.provides if profile.packages_of(each)[0] not in brought] == []
    assert profile.size_mb
    assert profile.description


def test_the_guide_lists_every_profile_and_no_other() -> None:
    guide = (ROOT / "docs" / "environments.md").read_text("utf-8")
    table = guide.partition("| profile |")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)) == OWN


def test_the_profiles_for_paddlehub_exist_and_are_tried_in_order(home: Path) -> None:
    names = list(all_profiles(home))
    assert names.index("paddlehub") < names.index("paddle-fluid")
    known = known_packages(all_profiles(home))
    assert {"paddlepaddle", "paddlepaddle-gpu"} <= known["paddle"]
    assert "paddle.fluid" not in get_profile(home, "paddlehub").provides


def test_a_users_profile_replaces_one_of_the_same_name(home: Path) -> None:
    write_profile(home, "paddlehub", description="mine")
    write_profile(home, "first", order=1)
    assert get_profile(home, "paddlehub").description == "mine"
    assert next(iter(all_profiles(home))) == "first"


def test_the_error_for_an_unknown_profile_lists_the_known_ones(home: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"environment profile 'padlehub' does not exist; did you mean 'paddlehub'\? Available are: .*paddle-fluid.*host"
    ):
        get_profile(home, "padlehub")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"requirements": []}, "requirements is empty"),
        ({"requirements": ["-e ."]}, "the option -e is not supported"),
        ({"requirements": ["what ever"]}, "not a usable requirement"),
        ({"requirements": ["--find-links ../elsewhere"]}, "lies outside"),
        ({"pythons": []}, 'must be a list like \\["3.8", "3.9"\\]'),
        ({"pythons": ["3"]}, 'must be a list like \\["3.8", "3.9"\\]'),
        ({"provides": []}, "Expected `object`, got `array` - at `\\$.provides`"),
        ({"provide": {}}, "unknown field `provide`"),
        ({"environ": {"PYTHONPATH": "x"}}, "hub itself sets"),
        ({"schema_version": 9}, "upgrade hubserve"),
        ({"constraints": ["conflicted"], "order": "first"}, "Expected `int`, got `str`"),
    ],
)
def test_the_error_for_an_invalid_file_names_it_and_the_fault(home: Path, more: dict[str, Any], reason: str) -> None:
    path = write_profile(home, "mine", **more)
    with pytest.raises(ConfigError, match=reason) as caught:
        read_profile(path)
    assert "mine" in str(caught.value)


def test_a_file_that_is_not_json_or_has_a_reserved_name_is_refused(home: Path) -> None:
    path = write_profile(home, "mine")
    path.write_text("{")
    with pytest.raises(ConfigError, match="cannot be used"):
        all_profiles(home)
    path.unlink()
    for name in ("host", "auto"):
        with pytest.raises(ConfigError, match="rename the file"):
            read_profile(write_profile(home, name))


def test_packages_may_be_beside_the_file_or_come_from_further_indexes(home: Path) -> None:
    path = write_profile(home, "mine", requirements=["--find-links wheels", "--extra-index-url https://example.org/simple", "six"])
    (path.parent / "wheels").mkdir()
    wanted = read_profile(path).wanted
    assert (wanted.lines, wanted.options) == (("six",), ("--extra-index-url https://example.org/simple",))
    assert wanted.links == ((path.parent / "wheels").resolve(),)
