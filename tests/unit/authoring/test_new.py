"""Folders and sources of new modules."""

import ast
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.authoring.new import new_folder
from hubserve.authoring.python_source import class_name, literal
from hubserve.errors import InstallError

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
NESTED = st.recursive(PLAIN, lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(), each, max_size=3), max_leaves=12)


@given(NESTED)
def test_a_literal_is_its_value(value):
    assert ast.literal_eval(literal(value, {"a": "a comment"})) == value


@pytest.mark.parametrize(
    ("name", "expected"), [("my-net_v2", "MyNetV2"), ("lac", "Lac"), ("none", "ModuleNone"), ("3d", "Module3d"), ("猫", "猫")]
)
def test_a_class_is_named_after_its_module(name, expected):
    assert class_name(name) == expected


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    with new_folder(tmp_path / "deep" / "place", "my-net", "1.0.0") as folder:
        (folder / "module.py").touch()
        assert not (tmp_path / "deep" / "place" / "my_net").exists()
    assert (tmp_path / "deep" / "place" / "my_net" / "module.py").is_file()

    def fail():
        with new_folder(tmp_path, "other", "1.0.0") as folder:
            (folder / "module.py").touch()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert os.listdir(tmp_path) == ["deep"]


@pytest.mark.parametrize(
    ("name", "version", "words"),
    [("../up", "1.0.0", "name"), ("a b", "1.0.0", "name"), ("json", "1.0.0", "Python has a package"), ("ok", "1/2", "version")],
)
def test_a_name_that_cannot_be_one_is_refused(tmp_path, name, version, words):
    with pytest.raises(InstallError, match=words), new_folder(tmp_path, name, version):
        pass
    assert os.listdir(tmp_path) == []


def test_nothing_is_written_over_what_is_there(tmp_path):
    (tmp_path / "mine").mkdir()
    with pytest.raises(InstallError, match="already exists"), new_folder(tmp_path, "mine", "1.0.0"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(InstallError, match="cannot write into"), new_folder(tmp_path / "file", "net", "1.0.0"):
        pass
