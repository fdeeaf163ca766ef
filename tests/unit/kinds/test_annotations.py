"""Test that modules with undefined names in annotations can be imported."""

import sys
from pathlib import Path

import pytest

from hubserve.kinds.annotations import import_leniently

NAMES = ("lenient_package", "lenient_package.module", "lenient_package.layers", "lenient_package.more")


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    for name in NAMES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    folder = tmp_path / "lenient_package"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "layers.py").write_text("class Layer:\n    def scale(self, size: Tuple[int], more=None) -> 'Layer':\n        return size\n")
    (folder / "more.py").write_text("def work(x: paddle.Tensor) -> paddle.Tensor:\n    return x\n\nsize: List[int] = [1]\n")
    return folder


def test_names_in_annotations_only_are_not_looked_up(package: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (package / "module.py").write_text(
        "from .layers import Layer\nfrom lenient_package.more import work\n\nanswer = Layer().scale(work(2))\n"
    )
    assert import_leniently("lenient_package.module").answer == 2
    logged = capfd.readouterr().err.splitlines()
    if sys.version_info < (3, 14):
        assert [line.partition(": ")[0].rpartition("/")[2] for line in logged] == ["layers.py, line 2", "more.py, line 1"]


def test_names_that_the_code_needs_are_errors_as_ever(package: Path) -> None:
    (package / "module.py").write_text("def f(x: int):\n    return x\n\nvalue = Tuple\n")
    with pytest.raises(NameError, match="Tuple"):
        import_leniently("lenient_package.module")
    (package / "module.py").write_text("def f(x: Later):\n    return Later\n\n\nclass Later:\n    pass\n")
    with pytest.raises(NameError, match="Later"):
        import_leniently("lenient_package.module")
