"""Names that become folders and packages, versions that sort, references that users type."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import InstallError, InvalidInput
from hubserve.registry.names import check_name, check_version, find_version, folder_name, split_reference, version_key


@pytest.mark.parametrize("name", ["clas_system", "UGATIT_100w", "old-style", "3d_pose", "车牌识别", "_private", "n" * 100])
def test_names_that_modules_have_are_accepted(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "-x", "a.b", "a b", "a\0", "a\n", "n" * 101, "e\u0301", "模" * 40])
def test_names_that_cannot_be_folders_or_packages_are_refused_with_the_reason(name: str) -> None:
    with pytest.raises(InstallError, match="Change name= in its @moduleinfo"):
        check_name(name)


@pytest.mark.parametrize("version", ["1.0.0", "1", "2.0rc1", "1!2.0", "1.0+cpu", "2020-01-01", "v1", "latest"])
def test_versions_that_modules_have_are_accepted(version: str) -> None:
    check_version(version)


@pytest.mark.parametrize("version", ["", ".", "..", "1..0", "1/0", ".1.0.0.old", "-1", "1 0", "1\n", "1" * 65, "一"])
def test_versions_that_cannot_be_folders_are_refused_with_the_reason(version: str) -> None:
    with pytest.raises(InstallError, match="Change version= in its @moduleinfo"):
        check_version(version)


@given(st.text(max_size=20))
def test_an_accepted_name_and_version_are_single_visible_folders(text: str) -> None:
    for check in (check_name, check_version):
        try:
            check(text)
        except InstallError:
            continue
        assert text
        assert "/" not in text
        assert "\0" not in text
        assert not text.startswith(".")
        assert ".." not in text
    assert "-" not in folder_name(text)


def test_versions_sort_as_people_count_and_odd_texts_come_first() -> None:
    versions = ["1.10.0", "nightly", "1.9", "2.0rc1", "2.0", "1.9.1", "alpha"]
    assert sorted(versions, key=version_key) == ["alpha", "nightly", "1.9", "1.9.1", "1.10.0", "2.0rc1", "2.0"]


def test_an_equal_version_is_found_and_the_same_text_first() -> None:
    assert find_version("1.0", ["1.0.0", "1.0"]) == "1.0"
    assert find_version("1.0", ["0.9", "1.0.0"]) == "1.0.0"
    assert find_version("1.0.1", ["1.0.0"]) is None
    assert find_version("nightly", ["nightly2"]) is None


def test_a_reference_is_a_name_with_or_without_a_version() -> None:
    assert split_reference("lac") == ("lac", None)
    assert split_reference("lac==2.1.0") == ("lac", "2.1.0")


@pytest.mark.parametrize("reference", ["", " ", "==", "==1", "lac=="])
def test_a_reference_with_an_empty_part_is_refused(reference: str) -> None:
    with pytest.raises(InvalidInput, match="NAME==VERSION"):
        split_reference(reference)
