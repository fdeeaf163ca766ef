from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2

from hubserve.errors import InvalidInput
from hubserve.protocols.open_inference.grpc import raw_tensors
from hubserve.protocols.open_inference.grpc.codec import decode_call, parse, parse_request
from hubserve.protocols.open_inference.grpc.raw_tensors import has_many_fields, response_parts, split_request, stream_response_parts
from tests.examples import examples

LARGE = np.arange(50_000, dtype=np.float32)


def request(*raws: bytes) -> service_pb2.ModelInferRequest:
    made = service_pb2.ModelInferRequest(model_name="m", id="7", raw_input_contents=raws)
    for number, raw in enumerate(raws):
        made.inputs.add(name=f"x{number}", datatype="UINT8", shape=[len(raw)])
    made.parameters["a"].int64_param = -1
    made.outputs.add(name="y")
    return made


def contents_of(call: Any) -> Any:
    inputs = [(each.name, each.shape, None if each.data is None else each.data.tobytes()) for each in call.inputs]
    return call.model, call.version, call.id, call.parameters, inputs, [(each.name, each.parameters) for each in call.outputs]


def outcome(decode: Any, data: bytes) -> Any:
    try:
        return contents_of(decode(data))
    except InvalidInput as error:
        return str(error)


def quickly(data: bytes | bytearray) -> Any:
    return decode_call(*parse_request(data))


def plainly(data: bytes) -> Any:
    return decode_call(parse(service_pb2.ModelInferRequest, data))


@pytest.mark.parametrize(
    "raws", [(LARGE.tobytes(),), (b"", LARGE.tobytes(), b"abc"), (LARGE.tobytes(), LARGE.tobytes()), (bytes(1 << 22),)]
)
def test_large_tensors_are_views_of_the_message(raws: tuple[bytes, ...]) -> None:
    data = bytearray(request(*raws).SerializeToString())
    call = quickly(data)
    assert contents_of(call) == contents_of(plainly(bytes(data)))
    largest = max(call.inputs, key=lambda each: each.data.size)
    data[-20:] = b"\xff" * 20  # a copy would not show this
    assert np.shares_memory(np.frombuffer(data, np.uint8), largest.data)


def test_entries_may_stand_anywhere_and_unknown_fields_are_skipped() -> None:
    whole = request(LARGE.tobytes())
    parts = [service_pb2.ModelInferRequest(raw_input_contents=[b"first"]), whole, service_pb2.ModelInferRequest(model_name="last")]
    unknown = b"\x98\x06\x01" + b"\xa1\x06" + bytes(8) + b"\xad\x06" + bytes(4) + b"\xb2\x06\x02ab"  # of every type, numbers from 99 on
    data = unknown + b"".join(each.SerializeToString() for each in parts) + unknown
    rest, raws = split_request(data)
    assert raws == [b"first", LARGE.tobytes()]
    assert service_pb2.ModelInferRequest.FromString(rest).model_name == "last"


def test_a_message_of_very_many_fields_is_left_to_its_class() -> None:
    data = service_pb2.ModelInferRequest(raw_input_contents=[b""] * 50_000).SerializeToString()
    assert split_request(data) == (data, None)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=examples(300))
@given(
    st.lists(st.binary(max_size=300), max_size=4),
    st.lists(st.tuples(st.integers(0, 2000), st.sampled_from("sid"), st.integers(0, 255)), max_size=4),
)
def test_a_split_message_equals_the_decoded_one(
    monkeypatch: pytest.MonkeyPatch, raws: list[bytes], changes: list[tuple[int, str, int]]
) -> None:
    monkeypatch.setattr(raw_tensors, "_SMALL_BYTES", 0)
    data = bytearray(request(*raws).SerializeToString())
    for position, how, value in changes:
        place = position % (len(data) or 1)
        if how == "s" and data:
            data[place] = value
        elif how == "i":
            data.insert(place, value)
        else:
            del data[place : place + 1]
    assert outcome(quickly, bytes(data)) == outcome(plainly, bytes(data))


@pytest.mark.parametrize("raws", [[], [b""], [b"abc", b""], [LARGE.tobytes(), b"x" * 127, b"y" * 128]])
def test_encoded_responses_are_decoded_by_the_message_s_class(raws: list[bytes]) -> None:
    response = service_pb2.ModelInferResponse(model_name="m", id="7")
    for _ in raws:
        response.outputs.add(name="y", datatype="UINT8", shape=[1])
    expected = service_pb2.ModelInferResponse()
    expected.CopyFrom(response)
    expected.raw_output_contents.extend(raws)
    assert service_pb2.ModelInferResponse.FromString(b"".join(response_parts(response, raws))) == expected
    streamed = service_pb2.ModelStreamInferResponse(error_message="e", infer_response=response)
    read = service_pb2.ModelStreamInferResponse.FromString(b"".join(stream_response_parts(streamed, raws)))
    assert read.infer_response == expected
    assert read.error_message == "e"


def test_fields_are_counted_without_decoding_them() -> None:
    request = service_pb2.ModelInferRequest(model_name="m", id="7")
    for number in range(10):
        request.inputs.add(name=str(number), datatype="FP32", shape=[1]).contents.fp32_contents.append(1.5)
    message = request.SerializeToString()
    assert has_many_fields(message, 11)
    assert not has_many_fields(message, 12)
    assert not has_many_fields(b"\xff" * 20, 12)
    assert not has_many_fields(b"", 0)
