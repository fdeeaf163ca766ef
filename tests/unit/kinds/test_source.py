from pathlib import Path

import pytest

from hubserve.errors import LoadFailed
from hubserve.kinds import KINDS, find_kind, get_kind
from hubserve.kinds.source import read_module_class


def write(folder: Path, text: str) -> Path:
    path = folder / "module.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_metadata_are_read_and_no_code_is_run(tmp_path: Path) -> None:
    write(
        tmp_path,
        f"""
import no_such_package
open({str(tmp_path / "ran")!r}, "w")
class Base:
    @serving
    def serving_method(self): pass
@moduleinfo(name="näme", version="1.0.0", author="a", summary="s", type="t", meta=no_such_package.Meta)
class First(Base):
    @runnable
    def run(self, argv): pass
@moduleinfo(name="second", version="2")
class Second: pass
""",
    )
    info = find_kind(tmp_path).describe(tmp_path)
    assert (info.name, info.version, info.author, info.summary, info.type) == ("näme", "1.0.0", "a", "s", "t")
    assert (info.serving_method, info.runnable, info.batches) == ("serving_method", True, False)
    assert not (tmp_path / "ran").exists()


MARKED = "@moduleinfo(name='a', version='1')\nclass A:\n    @{}\n    def first(self): pass\n    @{}\n    def second(self): pass\n"


def test_one_method_may_be_marked_for_several_uses_and_be_defined_anew(tmp_path: Path) -> None:
    path = write(tmp_path, MARKED.format("serving\n    @runnable", "runnable").replace("second", "first"))
    assert read_module_class(path).marked == {"serving": "first", "runnable": "first"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def broken(:\n", "line 1: "),
        ("x = 1\n\nclass Plain: pass\n", "no class under @moduleinfo"),
        ("@moduleinfo\nclass A: pass\n", "no class under @moduleinfo"),
        ("@moduleinfo(name='a')\nclass A: pass\n", "line 1: @moduleinfo needs version='...'"),
        ("@moduleinfo(name=NAME, version='1')\nclass A: pass\n", "needs name='...' as a literal"),
        ("@moduleinfo(name=1, version='1')\nclass A: pass\n", "needs name="),
        (MARKED.format("serving", "serving"), "line 6: A.second is marked @serving, and so is first"),
        (MARKED.format("module.batch", "batch()"), "line 6: A.second is marked @batch, and so is first"),
        ("\0", "not valid Python"),
        ("(" * 5000, "not valid Python"),
    ],
)
def test_errors_in_a_module_file_are_reported_with_their_place(tmp_path: Path, text: str, words: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(LoadFailed) as caught:
        read_module_class(path)
    assert words in caught.value.message
    assert str(path) in caught.value.message


def test_a_folder_without_module_py_is_refused_with_what_each_kind_looks_for(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed) as caught:
        find_kind(tmp_path)
    for name in KINDS:
        assert get_kind(name).looks_for in caught.value.message
    with pytest.raises(LoadFailed, match="is not a folder"):
        find_kind(tmp_path / "none")


def test_an_unknown_kind_is_refused_with_the_known_ones() -> None:
    with pytest.raises(LoadFailed, match=f"known kinds are {', '.join(KINDS)}"):
        get_kind("nonsense")


def test_methods_of_hubserves_ready_made_classes_are_known_without_importing_them(tmp_path):
    (tmp_path / "module.py").write_text(
        "import gone\nfrom hubserve.models import ClassifierModule as Base\nfrom elsewhere import ModelModule\n\n"
        "class Mine(Base):\n    pass\n\n@moduleinfo(name='flowers', version='1.0.0')\nclass Flowers(Mine):\n    pass\n"
    )
    info = read_module_class(tmp_path / "module.py").to_info("paddlehub")
    assert (info.serving_method, info.runnable, info.batches) == ("serve", True, True)


def test_a_class_of_the_same_name_from_elsewhere_has_no_known_methods(tmp_path):
    (tmp_path / "module.py").write_text(
        "from elsewhere import ModelModule\n\n@moduleinfo(name='flowers', version='1.0.0')\nclass Flowers(ModelModule):\n    pass\n"
    )
    info = read_module_class(tmp_path / "module.py").to_info("paddlehub")
    assert (info.serving_method, info.runnable, info.batches) == ("", False, False)
