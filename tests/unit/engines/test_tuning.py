"""The documented parameters of Triton's backends."""

import pytest

from hubserve.engines.tuning import PARAMETERS, is_known, read_tuning
from hubserve.errors import ConfigError
from tests.conftest import ROOT


def test_threads_settings_and_keys_without_effect_are_distinguished() -> None:
    given = {"intra_op_thread_count": "3", "execution_mode": "1", "gpu_mem_limit": "9", "session.x": "y", "mine": "z"}
    tuning = read_tuning("onnxruntime", given, "")
    assert tuning.threads == 3
    assert tuning.settings == [("execution_mode", "1"), ("session.x", "y")]
    assert len(tuning.notes) == 1
    assert tuning.notes[0].startswith("parameter gpu_mem_limit changes nothing here")


@pytest.mark.parametrize(("text", "value"), [("true", "1"), ("FALSE", "0"), ("1", "1"), (" 0 ", "0")])
def test_flags_may_be_words_or_digits(text: str, value: str) -> None:
    assert read_tuning("pytorch", {"INFERENCE_MODE": text}, "").settings == [("INFERENCE_MODE", value)]


@pytest.mark.parametrize(
    ("backend", "key", "text", "expected"),
    [
        ("onnxruntime", "execution_mode", "2", "one of 0, 1"),
        ("onnxruntime", "inter_op_thread_count", "many", "a whole number from 0 up"),
        ("pytorch", "INFERENCE_MODE", "maybe", "0 or 1, true or false"),
        ("paddle", "cpu_threads", "0", "a whole number from 1 up"),
    ],
)
def test_a_value_that_cannot_be_used_is_reported(backend: str, key: str, text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=f"^here: parameter {key} must be {expected}, got '{text}'$"):
        read_tuning(backend, {key: text}, "here: ")


def test_what_is_open_ended_is_known_by_its_beginning() -> None:
    assert is_known("onnxruntime", "session.anything")
    assert not is_known("onnxruntime", "anything")
    assert not is_known("pytorch", "session.anything")
    assert not is_known("python", "")


def test_the_guide_lists_every_parameter() -> None:
    guide = "".join((ROOT / "docs" / name).read_text("utf-8") for name in ("model-files.md", "gpu.md"))
    missing = [key for each in PARAMETERS.values() for key in each if f"`{key}`" not in guide]
    assert not missing
