from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from hubserve.errors import InvalidInput
from hubserve.protocols.open_inference.core.types import InferResult, OutputTensor
from hubserve.protocols.open_inference.grpc.codec import decode_call, fill_response, parse, sendable
from hubserve.protocols.open_inference.grpc.raw_tensors import response_parts

#: datatype -> the field of its elements, and three of them
TYPED = {
    "BOOL": ("bool_contents", [True, False, True]),
    "INT8": ("int_contents", [-128, 0, 127]),
    "INT16": ("int_contents", [-(2**15), 0, 2**15 - 1]),
    "INT32": ("int_contents", [-(2**31), 0, 2**31 - 1]),
    "INT64": ("int64_contents", [-(2**63), 0, 2**63 - 1]),
    "UINT8": ("uint_contents", [0, 1, 255]),
    "UINT16": ("uint_contents", [0, 1, 2**16 - 1]),
    "UINT32": ("uint_contents", [0, 1, 2**32 - 1]),
    "UINT64": ("uint64_contents", [0, 1, 2**64 - 1]),
    "FP32": ("fp32_contents", [0.5, -1.0, float("inf")]),
    "FP64": ("fp64_contents", [0.1, -1e300, float("-inf")]),
    "BYTES": ("bytes_contents", [b"", b"\xff\x00", b"word"]),
}


def request(*inputs: service_pb2.ModelInferRequest.InferInputTensor, raw: tuple[bytes, ...] = ()) -> service_pb2.ModelInferRequest:
    return service_pb2.ModelInferRequest(model_name="m", inputs=inputs, raw_input_contents=raw)


def tensor(datatype: str = "FP32", shape: tuple[int, ...] = (3,), name: str = "x", **contents: object) -> object:
    made = service_pb2.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)
    if contents:
        made.contents.CopyFrom(service_pb2.InferTensorContents(**contents))
    return made


@pytest.mark.parametrize("datatype", TYPED)
def test_typed_contents_of_every_datatype_become_an_array(datatype: str) -> None:
    field, elements = TYPED[datatype]
    array = decode_call(request(tensor(datatype, (3, 1), **{field: elements}))).inputs[0].data
    assert array is not None
    assert array.shape == (3, 1)
    assert array.ravel().tolist() == elements


@pytest.mark.parametrize("datatype", TYPED)
def test_typed_contents_without_elements_are_an_empty_tensor(datatype: str) -> None:
    array = decode_call(request(tensor(datatype, (0, 2)))).inputs[0].data
    assert array is not None
    assert array.shape == (0, 2)


def test_raw_contents_are_taken_in_order_by_inputs_that_are_not_in_shared_memory() -> None:
    shared = tensor(name="b")
    shared.parameters["shared_memory_region"].string_param = "region"  # type: ignore[attr-defined]
    shared.parameters["shared_memory_byte_size"].int64_param = 12  # type: ignore[attr-defined]
    raw = (np.arange(3, dtype=np.float32).tobytes(), np.arange(2, dtype=np.int64).tobytes())
    inputs = decode_call(request(tensor(name="a"), shared, tensor("INT64", (2,), "c"), raw=raw)).inputs
    assert [None if each.data is None else each.data.tolist() for each in inputs] == [[0, 1, 2], None, [0, 1]]
    assert inputs[1].parameters == {"shared_memory_region": "region", "shared_memory_byte_size": 12}


def test_ids_versions_parameters_and_outputs_are_taken_over() -> None:
    sent = service_pb2.ModelInferRequest(model_name="m", model_version="3", id="7")
    for field, value in {"bool": True, "int64": -1, "string": "s", "double": 0.5, "uint64": 2**64 - 1}.items():
        setattr(sent.parameters[field], f"{field}_param", value)
    sent.outputs.add(name="y").parameters["classification"].int64_param = 3
    call = decode_call(sent)
    assert (call.model, call.version, call.id) == ("m", "3", "7")
    assert call.parameters == {"bool": True, "int64": -1, "string": "s", "double": 0.5, "uint64": 2**64 - 1}
    assert [(each.name, each.parameters) for each in call.outputs] == [("y", {"classification": 3})]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            request(tensor("FP32", fp32_contents=[1.0]), raw=(b"1234",)),
            "contents field must not be specified when using raw_input_contents for 'x' for model '",
        ),
        (request(tensor(), tensor(name="y"), raw=(bytes(12),)), "1 entries for 2 inputs"),
        (request(tensor(), raw=(bytes(12), bytes(12))), "2 entries for 1 inputs"),
        (request(tensor("FP32", (4,)), raw=(bytes(12),)), r"'x': shape \[4\].* needs 16 bytes, but 12 came"),
        (request(tensor("FP32", (4,), fp32_contents=[1.0])), r"'x': shape \[4\] needs 4 elements, but 1 came in fp32_contents"),
        (request(tensor("FP32", (1, 10**12))), "needs 1000000000000 elements"),
        (request(tensor("FP32", (2**62, 2**62, 4), fp32_contents=[1.0])), "far too many"),
        (request(tensor("FP32", (-1,), fp32_contents=[1.0])), "whole numbers from 0 up"),
        (request(tensor("FP32", (1,) * 33, fp32_contents=[1.0])), "at most 32"),
        (request(tensor("FP16", (1,), fp32_contents=[1.0])), "raw_input_contents"),
        (request(tensor("BF16", (1,), fp32_contents=[1.0])), "raw_input_contents"),
        (request(tensor("FP32", (1,), fp64_contents=[1.0])), "belong into fp32_contents, not fp64_contents"),
        (request(tensor("FP32", (1,), fp32_contents=[1.0], int_contents=[1])), "not int_contents"),
        (request(tensor("INT8", (1,), int_contents=[128])), "INT8 elements are from -128 to 127, got 128"),
        (request(tensor("UINT16", (1,), uint_contents=[1 << 16])), "UINT16 elements are from 0 to 65535"),
        (request(tensor("FLOAT", (1,), fp32_contents=[1.0])), "'FLOAT' is not a datatype"),
        (request(tensor("BYTES", (1,)), raw=(b"\x09\0\0\0ab",)), "byte string 1 of 1 ends behind"),
    ],
)
def test_tensors_that_contradict_themselves_are_refused_with_the_reason(wrong: service_pb2.ModelInferRequest, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        decode_call(wrong)


def test_a_parameter_without_a_value_is_refused_by_name() -> None:
    sent = service_pb2.ModelInferRequest(model_name="m")
    sent.parameters["empty"].SetInParent()
    with pytest.raises(InvalidInput, match="'empty' has no value; set one of bool_param"):
        decode_call(sent)


def test_shared_memory_and_contents_exclude_each_other() -> None:
    both = tensor("FP32", (1,), fp32_contents=[1.0])
    both.parameters["shared_memory_region"].string_param = "region"  # type: ignore[attr-defined]
    with pytest.raises(InvalidInput, match="shared memory"):
        decode_call(request(both))


def test_bytes_of_another_message_are_refused_with_the_expected_type() -> None:
    with pytest.raises(InvalidInput, match="3 bytes are not a message of type inference.ModelInferRequest"):
        parse(service_pb2.ModelInferRequest, b"\xff\xff\xff")


def test_a_result_becomes_raw_contents_one_for_each_output() -> None:
    words = np.array([b"a", b"bc"], object)
    outputs = [
        OutputTensor("y", "FP32", (2, 2), np.arange(4, dtype=np.float32).reshape(2, 2).T),
        OutputTensor("z", "FP32", (2,), None, parameters={"shared_memory_region": "r", "shared_memory_byte_size": 8}),
        OutputTensor("w", "BYTES", (2,), words),
    ]
    response = service_pb2.ModelInferResponse()
    raws = fill_response(response, InferResult("m", "1", "7", outputs, {"a": True, "b": 2**64 - 1, "c": 0.5, "d": "text"}))
    response.ParseFromString(b"".join(response_parts(response, raws)))
    assert [each.name for each in response.outputs] == ["y", "z", "w"]
    assert np.frombuffer(response.raw_output_contents[0], np.float32).tolist() == [0, 2, 1, 3]
    assert list(response.raw_output_contents[1:]) == [b"", b"\x01\0\0\0a\x02\0\0\0bc"]
    assert response.outputs[1].parameters["shared_memory_region"].string_param == "r"
    assert response.parameters["a"].bool_param
    assert response.parameters["b"].uint64_param == 2**64 - 1
    assert response.parameters["c"].double_param == 0.5
    assert response.parameters["d"].string_param == "text"


def test_texts_with_lone_surrogates_can_be_sent() -> None:
    assert sendable("a\ud800b") == "a?b"


def test_texts_are_cut_between_characters() -> None:
    assert sendable("äää", 5) == "ää"


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    with suppress(InvalidInput):
        decode_call(parse(service_pb2.ModelInferRequest, data))


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_request_with_one_wrong_byte_is_decoded_or_refused(position: int, value: int) -> None:
    whole = bytearray(request(tensor(), tensor("INT8", (3,), int_contents=[1, 2, 3]), raw=(bytes(12),)).SerializeToString())
    whole[position % len(whole)] = value
    with suppress(InvalidInput):
        decode_call(parse(service_pb2.ModelInferRequest, bytes(whole)))


@pytest.mark.parametrize("field", ["inputs", "outputs"])
def test_more_tensors_than_any_model_has_are_refused(field: str) -> None:
    request = service_pb2.ModelInferRequest(model_name="m")
    for number in range(4097):
        getattr(request, field).add(name=str(number))
    with pytest.raises(InvalidInput, match=f"has 4097 {field}"):
        decode_call(request)


def test_more_parameters_or_lengths_than_make_sense_are_refused() -> None:
    request = service_pb2.ModelInferRequest(model_name="m")
    request.inputs.add(name="x", datatype="FP32", shape=[1] * 100_000)
    with pytest.raises(InvalidInput, match="at most 32"):
        decode_call(request)
    for number in range(4097):
        request.parameters[str(number)].bool_param = True
    with pytest.raises(InvalidInput, match="4097 parameters"):
        decode_call(request)
