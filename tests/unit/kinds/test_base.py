"""Defaults of loaded modules."""

from pathlib import Path

import pytest

from hubserve.errors import UnsupportedFace
from hubserve.kinds import get_kind
from hubserve.kinds.base import LoadedModule
from tests.conftest import MODULES


def test_a_kind_without_a_command_line_says_what_to_do_instead() -> None:
    with pytest.raises(UnsupportedFace, match=r"modules of its kind have no command line.*hub serving start"):
        LoadedModule().run([])


def test_a_module_without_a_runnable_method_says_how_to_get_one() -> None:
    module = get_kind("paddlehub").load(Path(MODULES / "adder"), "adder", {}, {})
    with pytest.raises(UnsupportedFace, match="none is marked @runnable"):
        module.run([])
