import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.engines.package_imports import import_paddle
from hubserve.engines.paddle_program import read_program
from hubserve.engines.protobuf import integers_of, parse_message
from hubserve.errors import LoadFailed
from hubserve.types import TensorSpec

INPUTS = {
    "classifier": (TensorSpec("x", "float32", (-1, 3, 32, 32)),),
    "two_inputs": (TensorSpec("ids", "int64", (-1, -1)), TensorSpec("mask", "float32", (-1, -1))),
    "no_weights": (TensorSpec("image", "uint8", (-1, -1, -1, 3)),),
}
OUTPUTS = {"classifier": [("float32", (-1, 10))], "two_inputs": [("float32", (-1, 3)), ("int64", (-1, -1)), ("float32", (-1, 4))]}


@pytest.mark.parametrize("form", ["pdmodel", "json"])
@pytest.mark.parametrize("name", list(INPUTS))
def test_inputs_outputs_and_the_need_for_weights_are_read_without_paddle(form, name, models):
    program = read_program(models / form / name / f"inference.{form}")
    assert sorted(program.inputs) == sorted(INPUTS[name])
    assert program.needs_weights == (name != "no_weights")
    if name in OUTPUTS:
        assert [(spec.dtype, spec.shape) for spec in program.outputs] == OUTPUTS[name]


def test_output_names_are_those_of_paddles_predictor(models):
    inference = import_paddle().inference
    for form in ("pdmodel", "json"):
        folder = models / form / "two_inputs"
        config = inference.Config(str(folder / f"inference.{form}"), str(folder / "inference.pdiparams"))
        config.disable_glog_info()
        expected = inference.create_predictor(config).get_output_names()
        assert [spec.name for spec in read_program(folder / f"inference.{form}").outputs] == expected


@pytest.mark.parametrize("form", ["pdmodel", "json"])
def test_a_program_cut_anywhere_is_refused_or_read_whole_never_a_crash(form, models, tmp_path):
    data = (models / form / "classifier" / f"inference.{form}").read_bytes()
    cut = tmp_path / f"inference.{form}"
    refusals = []
    lengths = range(0, len(data), 61)
    for length in lengths:
        cut.write_bytes(data[:length])
        try:
            read_program(cut)
        except LoadFailed as error:
            refusals.append(error.message)
    assert len(refusals) >= len(lengths) - 1
    assert all(str(cut) in message for message in refusals)


@pytest.mark.parametrize("text", ["{}", "[]", "null", '{"base_code": {"magic": "other"}}', "version https://git-lfs.github.com/spec/v1"])
def test_json_that_is_no_program_is_refused(text, tmp_path):
    (tmp_path / "inference.json").write_text(text)
    with pytest.raises(LoadFailed, match="not a Paddle program"):
        read_program(tmp_path / "inference.json")


def test_an_element_type_that_cannot_be_served_is_named(models, tmp_path):
    program = (models / "json" / "classifier" / "inference.json").read_text()
    (tmp_path / "inference.json").write_text(program.replace("t_f32", "t_bf16"))
    assert json.loads(program)
    with pytest.raises(LoadFailed, match="tensor 'x' has an element type that cannot be served"):
        read_program(tmp_path / "inference.json")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_value_error(data):
    try:
        fields = parse_message(data)
    except ValueError:
        return
    assert all(number > 0 for number in fields)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=8))
def test_packed_integers_are_read_back_with_their_signs(values):
    packed = b"".join(_varint(value) for value in values)
    message = b"\x0a" + _varint(len(packed)) + packed + b"".join(b"\x08" + _varint(value) for value in values)
    assert integers_of(parse_message(message), 1) == values * 2


def _varint(value):
    value &= 2**64 - 1
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])
