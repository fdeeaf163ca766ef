"""Parameters of Paddle 1, each in a file of its own."""

import mmap
import shutil
from pathlib import Path

import numpy as np
import pytest

from hubserve.engines import find_model_files, load_engine
from hubserve.engines.paddle_program import read_program
from hubserve.engines.weights import _end_of_record
from hubserve.errors import LoadFailed


def taken_apart(source: Path, folder: Path) -> Path:
    """The same model as Paddle 1's ``save_inference_model`` writes it."""
    shutil.copyfile(source / "inference.pdmodel", folder / "__model__")
    names = sorted(read_program(folder / "__model__").parameters)
    with (source / "inference.pdiparams").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        position = 0
        for name in names:
            end = _end_of_record(data, position)
            (folder / name).write_bytes(data[position:end])
            position = end
        assert position == len(data)
    return folder


@pytest.mark.parametrize("engine", ["paddle", "openvino"])
def test_a_model_whose_parameters_are_files_gives_the_same_answers(models: Path, tmp_path: Path, engine: str) -> None:
    whole = load_engine(models / "pdmodel" / "classifier", engine)
    apart = load_engine(taken_apart(models / "pdmodel" / "classifier", tmp_path), engine)
    pictures = np.random.default_rng(1).standard_normal((2, 3, 32, 32)).astype(np.float32)
    np.testing.assert_array_equal(apart.run({"x": pictures})[0], whole.run({"x": pictures})[0])


def test_they_are_put_together_once_and_again_when_one_changes(models: Path, tmp_path: Path) -> None:
    folder = taken_apart(models / "pdmodel" / "classifier", tmp_path)
    first = find_model_files(folder).weights
    assert find_model_files(folder).weights == first
    assert first is not None
    assert first.read_bytes() == (models / "pdmodel" / "classifier" / "inference.pdiparams").read_bytes()
    changed = next(each for each in folder.iterdir() if each.name != "__model__")
    changed.write_bytes(changed.read_bytes() + b"\0")
    assert find_model_files(folder).weights != first


def test_a_missing_parameter_is_named(models: Path, tmp_path: Path) -> None:
    folder = taken_apart(models / "pdmodel" / "classifier", tmp_path)
    gone = sorted(each.name for each in folder.iterdir() if each.name != "__model__")[0]
    (folder / gone).unlink()
    with pytest.raises(LoadFailed, match=rf"each in a file of its own, and 1 of the files are missing from '.*': {gone}"):
        find_model_files(folder)


def test_without_any_the_weights_are_called_missing(models: Path, tmp_path: Path) -> None:
    shutil.copyfile(models / "pdmodel" / "classifier" / "inference.pdmodel", tmp_path / "__model__")
    with pytest.raises(LoadFailed, match="its weights '__params__' are missing"):
        find_model_files(tmp_path)
