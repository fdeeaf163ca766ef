"""Metadata of tiinfer scripts, read without running them."""

from pathlib import Path

import pytest

from hubserve.errors import LoadFailed
from hubserve.kinds import find_kind
from hubserve.kinds.tiinfer.source import ScriptSource, read_script


def source(folder: Path, text: str) -> ScriptSource:
    (folder / "model_service.py").write_text(text)
    return read_script(folder)


def in_init(*lines: str, base: str = "tiinfer.Model", head: str = "import tiinfer") -> str:
    body = "".join(f"        {line}\n" for line in ("pass", *lines))
    return f'{head}\nclass Mine({base}):\n    """Reads digits.\n\n    More."""\n    def __init__(self, model_dir):\n{body}'


def test_name_and_processes_are_those_that_the_constructor_sets(tmp_path: Path) -> None:
    found = source(tmp_path, in_init('self.model_name = "mnist-classify"', "self.workers = 2"))
    assert (found.name, found.version, found.workers, found.summary) == ("mnist-classify", "1.0.0", 2, "Reads digits.")


def test_without_a_name_it_is_called_as_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "my digits"
    folder.mkdir()
    assert source(folder, in_init()).name == "my_digits"
    assert source(folder, in_init("self.model_name = make_name()")).name == "my_digits"
    assert source(folder, in_init('self.model_name = " "')).name == "my_digits"


@pytest.mark.parametrize(
    ("lines", "workers"),
    [
        (["self.workers = 0"], 0),
        (["self.workers = True"], 0),
        (["self.workers = count()"], 0),
        (["self.workers = '2'"], 0),
        (["if True:", "    self.workers = 3"], 3),
    ],
)
def test_only_a_number_counts_as_processes(tmp_path: Path, lines: list[str], workers: int) -> None:
    assert source(tmp_path, in_init(*lines)).workers == workers


@pytest.mark.parametrize(
    ("head", "base"),
    [
        ("from tiinfer import Model", "Model"),
        ("from tiinfer import Model as Base", "Base"),
        ("import tiinfer as ti", "ti.Model"),
        ("import tiinfer.model", "tiinfer.model.Model"),
    ],
)
def test_the_base_class_may_be_imported_in_any_way(tmp_path: Path, head: str, base: str) -> None:
    assert source(tmp_path, in_init("self.workers = 4", head=head, base=base)).workers == 4


def test_constants_and_bases_of_the_same_file_are_followed(tmp_path: Path) -> None:
    text = '__version__ = "2.1.0"\nN = 3\n' + in_init("self.workers = N", 'self.model_name = "a"')
    found = source(tmp_path, text + 'class Derived(Mine):\n    model_name = "b"\n')
    assert (found.name, found.version, found.workers) == ("b", "2.1.0", 3), "the first class by name is 'Derived'"


def test_other_classes_do_not_matter(tmp_path: Path) -> None:
    text = 'class Another:\n    def __init__(self):\n        self.workers = 9\n        self.model_name = "x"\n' + in_init(
        "self.workers = 2"
    )
    assert source(tmp_path, text).workers == 2


def test_a_circle_of_bases_ends(tmp_path: Path) -> None:
    assert source(tmp_path, "class A(B):\n    pass\nclass B(A):\n    pass\n").workers == 0


def test_a_script_says_which_python_it_needs(tmp_path: Path) -> None:
    (tmp_path / "hub.json").write_text('{"requires_python": ">=3.8,<3.12"}')
    assert source(tmp_path, in_init()).python["requires_python"] == ">=3.8,<3.12"


def test_a_script_that_is_not_python_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="is not valid Python"):
        source(tmp_path, "def broken(:\n")


def test_a_folder_with_a_script_is_of_this_kind_whatever_models_lie_in_it(tmp_path: Path) -> None:
    source(tmp_path, in_init())
    (tmp_path / "model.onnx").write_bytes(b"")
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.onnx").write_bytes(b"")
    kind = find_kind(tmp_path)
    assert kind.name == "tiinfer"
    assert kind.describe(tmp_path).runnable
    assert not kind.describe(tmp_path).batches
