"""The ``TI_*`` variables."""

from pathlib import Path

import pytest

from hubserve.errors import LoadFailed
from hubserve.kinds.tiinfer.kind import TiinferKind
from hubserve.kinds.tiinfer.variables import Variables, model_dir_of, read_variables


def test_unset_and_empty_variables_have_the_defaults_of_tiinfer() -> None:
    assert read_variables({"TI_INFERENCE_NUMS": " "}) == Variables("", 0, 1, 0, 0)


def test_variables_are_read() -> None:
    environ = {
        "TI_MODEL_DIR": "/data/model",
        "TI_INFERENCE_NUMS": "2",
        "TI_INFERENCE_MAX_BATCH_SIZE": "8",
        "TI_PREPROCESS_NUMS": "3",
        "TI_POSTPROCESS_NUMS": "0",
    }
    assert read_variables(environ) == Variables("/data/model", 2, 8, 3, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TI_INFERENCE_NUMS", "0"),
        ("TI_INFERENCE_NUMS", "two"),
        ("TI_INFERENCE_MAX_BATCH_SIZE", "-1"),
        ("TI_PREPROCESS_NUMS", "1.5"),
        ("TI_POSTPROCESS_NUMS", "²"),
    ],
)
def test_what_is_no_number_in_range_is_refused(name: str, value: str) -> None:
    with pytest.raises(LoadFailed, match=f"{name} is '{value}'; give a whole number"):
        read_variables({name: value})


def test_the_models_folder_is_the_scripts_unless_the_variable_names_another(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    unset = read_variables({})
    assert model_dir_of(tmp_path, unset) == str(tmp_path)
    assert model_dir_of(tmp_path, unset._replace(model_dir="inner")) == str(tmp_path / "inner")
    with pytest.raises(LoadFailed, match="there is no such folder"):
        model_dir_of(tmp_path, unset._replace(model_dir="/nowhere/at/all"))


def test_the_variable_has_priority_over_the_script(tmp_path: Path) -> None:
    text = "import tiinfer\nclass M(tiinfer.Model):\n    def __init__(self, d):\n        self.workers = 2\n"
    (tmp_path / "model_service.py").write_text(text)
    kind = TiinferKind()
    assert kind.instance_count(tmp_path, {}) == 2
    assert kind.instance_count(tmp_path, {"TI_INFERENCE_NUMS": "5"}) == 5
    (tmp_path / "model_service.py").write_text("")
    assert kind.instance_count(tmp_path, {}) == 1
