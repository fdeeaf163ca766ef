"""Test the names of Triton's compiled module: the order of their arguments, and texts as bytes."""

import asyncio
import importlib
import inspect
import json
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hubserve.errors import HubError
from hubserve.kinds.raw_requests import Call, Host, RawResponse, Replies, set_host
from hubserve.kinds.triton.api.requests import Server, attach

c_utils: Any = importlib.import_module("hubserve.compat.c_python_backend_utils")
pb_utils: Any = importlib.import_module("hubserve.compat.triton_python_backend_utils")

REQUEST = "request_id correlation_id inputs requested_output_names model_name model_version flags timeout preferred_memory trace parameters"
#: name -> the arguments in their order, as pb_stub.cc of the Python backend binds them; a call that names them must work, too
BOUND = {
    "TritonError": "message code",
    "TritonError.code": "",
    "TritonError.message": "",
    "PreferredMemory": "preferred_memory_type preferred_device_id",
    "InferenceTrace.get_context": "",
    "InferenceRequest": REQUEST,
    "InferenceRequest.inputs": "",
    "InferenceRequest.request_id": "",
    "InferenceRequest.correlation_id": "",
    "InferenceRequest.flags": "",
    "InferenceRequest.set_flags": "flags",
    "InferenceRequest.timeout": "",
    "InferenceRequest.parameters": "",
    "InferenceRequest.trace": "",
    "InferenceRequest.exec": "decoupled",
    "InferenceRequest.async_exec": "decoupled",
    "InferenceRequest.requested_output_names": "",
    "InferenceRequest.get_response_sender": "",
    "InferenceRequest.is_cancelled": "",
    "InferenceRequest.set_release_flags": "flags",
    "Tensor": "name numpy_array",
    "Tensor.name": "",
    "Tensor.as_numpy": "",
    "Tensor.triton_dtype": "",
    "Tensor.to_dlpack": "",
    "Tensor.is_cpu": "",
    "Tensor.shape": "",
    "Tensor.from_dlpack": "name dlpack_tensor",
    "Tensor.__dlpack__": "stream",
    "Tensor.__dlpack_device__": "",
    "InferenceResponse": "output_tensors error parameters",
    "InferenceResponse.output_tensors": "",
    "InferenceResponse.has_error": "",
    "InferenceResponse.error": "",
    "InferenceResponse.parameters": "",
    "InferenceResponseSender.send": "response flags",
    "InferenceResponseSender.is_cancelled": "",
    "ResponseIterator.__iter__": "",
    "ResponseIterator.__next__": "",
    "ResponseIterator.cancel": "",
    "Logger.log": "message level",
    "Logger.log_info": "message",
    "Logger.log_warn": "message",
    "Logger.log_error": "message",
    "Logger.log_verbose": "message",
    "Metric.increment": "value",
    "Metric.set": "value",
    "Metric.observe": "value",
    "Metric.value": "",
    "MetricFamily": "name description kind",
    "MetricFamily.Metric": "labels buckets",
    "load_model": "model_name config files",
    "unload_model": "model_name unload_dependents",
    "is_model_ready": "model_name model_version",
}
VALUES = {
    "TritonError": ["UNKNOWN", "INTERNAL", "NOT_FOUND", "INVALID_ARG", "UNAVAILABLE", "UNSUPPORTED", "ALREADY_EXISTS", "CANCELLED"],
    "MemoryType": ["TRITONSERVER_MEMORY_GPU", "TRITONSERVER_MEMORY_CPU"],
    "Logger": ["INFO", "WARNING", "ERROR", "VERBOSE"],
    "Logger.LogLevel": ["INFO", "WARNING", "ERROR", "VERBOSE"],
    "MetricKind": ["COUNTER", "GAUGE", "HISTOGRAM"],
    "MetricFamily": ["COUNTER", "GAUGE", "HISTOGRAM"],
}
EXPORTED = ["TRITONSERVER_MEMORY_GPU", "TRITONSERVER_MEMORY_CPU", "COUNTER", "GAUGE", "HISTOGRAM", "TritonModelException"]


def found(module: Any, name: str) -> Any:
    for part in name.split("."):
        module = getattr(module, part)
    return module


@pytest.mark.parametrize("name", BOUND)
def test_each_binding_takes_its_arguments_in_their_order(name: str) -> None:
    bound = found(c_utils, name)
    given = list(inspect.signature(bound).parameters.values())
    if not inspect.isclass(bound) and given and given[0].name == "self":
        given = given[1:]
    wanted = BOUND[name].split()
    assert [each.name for each in given[: len(wanted)]] == wanted
    assert all(each.kind is each.POSITIONAL_OR_KEYWORD for each in given[: len(wanted)])
    assert all(each.default is not each.empty or each.kind is each.VAR_KEYWORD for each in given[len(wanted) :]), "no more are needed"


@pytest.mark.parametrize("name", VALUES)
def test_each_value_is_there_and_counts_from_0(name: str) -> None:
    assert [int(getattr(found(c_utils, name), each)) for each in VALUES[name]] == list(range(len(VALUES[name])))


def test_both_modules_hold_the_same_objects() -> None:
    names = {each.split(".")[0] for each in [*BOUND, *VALUES, *EXPORTED]}
    assert all(getattr(c_utils, each) is getattr(pb_utils, each) for each in names)
    assert names == set(c_utils.__all__)


def test_arguments_may_be_given_without_their_names() -> None:
    tensor = pb_utils.Tensor("X", np.zeros((2, 3), np.float32))
    memory = pb_utils.PreferredMemory(pb_utils.TRITONSERVER_MEMORY_GPU, 1)
    request = pb_utils.InferenceRequest("seven", 4, [tensor], ["Y", "Z"], "other", 2, 3, 1000, memory, pb_utils.InferenceTrace(), {"a": 1})
    assert (request.request_id(), request.correlation_id(), request.inputs(), request.requested_output_names()) == (
        "seven",
        4,
        [tensor],
        {"Y", "Z"},
    )
    assert (request.flags(), request.timeout(), json.loads(request.parameters())) == (3, 1000, {"a": 1})
    assert request.trace().get_context() is None
    assert tensor.shape() == [2, 3]
    response = pb_utils.InferenceResponse([tensor], pb_utils.TritonError("no", pb_utils.TritonError.NOT_FOUND), {"b": True})
    assert (response.output_tensors(), response.error().code(), json.loads(response.parameters())) == ([tensor], 2, {"b": True})


class Recorder(Host):
    """Host that records requests, and answers every call at once."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def respond(self, key: int, response: RawResponse | None, final: bool) -> None: ...

    def abandon(self, key: int, error: HubError | None) -> None: ...

    def has_acted(self, keys: Any) -> bool:
        return False

    def reschedule(self, key: int) -> None: ...

    def open_keys(self) -> list[int]:
        return []

    def is_cancelled(self, key: int) -> bool:
        return False

    def call(self, call: Call) -> Replies:
        self.calls.append(call)
        return Answered(int(call.id) if call.id.isdigit() else 1)

    def ask(self, what: str, arguments: dict[str, Any], buffers: Any = ()) -> Any:
        self.asked.append((what, arguments))
        return True

    def publish(self, changes: Any) -> None: ...


class Answered(Replies):
    """Replies with the number of responses in the request's id, or one."""

    def __init__(self, count: int = 1) -> None:
        self.left = count

    def next_response(self) -> RawResponse | None:
        self.left -= 1
        return RawResponse({"Y": np.full(1, self.left, np.float32)}) if self.left >= 0 else None

    def notify(self, ready: Callable[[], None]) -> None:
        threading.Thread(target=ready).start()

    def close(self) -> None: ...


@pytest.fixture
def host() -> Any:
    host = Recorder()
    set_host(host)
    attach(Server(host, host.open_keys, lambda _: None))  # type: ignore[arg-type, return-value]
    yield host
    attach(None)
    set_host(None)


KINDS = [bytes, bytearray, np.bytes_, lambda text: np.array([text], object)[0], lambda text: np.str_(text.decode())]


@pytest.mark.parametrize("kind", KINDS)
def test_every_text_may_be_bytes(kind: Callable[[bytes], Any], host: Recorder, capsys: pytest.CaptureFixture[str]) -> None:
    name = kind("größe".encode())
    tensor = pb_utils.Tensor(name, np.zeros(1, np.float32))
    assert tensor.name() == "größe"
    assert pb_utils.Tensor.from_dlpack(name, tensor).name() == "größe"
    request = pb_utils.InferenceRequest(name, name, [tensor], [name], name, parameters={"k": kind(b"v")})
    assert (request.request_id(), request.correlation_id(), json.loads(request.parameters())) == ("größe", "größe", {"k": "v"})
    assert not request.exec().has_error()
    assert (host.calls[0].module, host.calls[0].outputs, list(host.calls[0].inputs)) == ("größe", ["größe"], ["größe"])
    assert pb_utils.get_input_tensor_by_name(request, name) is tensor
    assert pb_utils.get_output_tensor_by_name(pb_utils.InferenceResponse([tensor]), name) is tensor
    assert pb_utils.get_input_config_by_name({"input": [{"name": "größe"}]}, name) == {"name": "größe"}
    error = pb_utils.TritonError(name)
    assert (error.message(), str(pb_utils.TritonModelException(name))) == ("größe", "größe")
    assert pb_utils.InferenceResponse(error=error).error().message() == "größe"
    assert pb_utils.is_model_ready(name, kind(b"2"))
    pb_utils.load_model(name, kind(b"{}"), {"file:1/model.py": b""})
    pb_utils.unload_model(name)
    assert [arguments["name"] for _, arguments in host.asked] == ["größe"] * 3
    assert json.dumps(host.asked), "what goes over the wire is plain text"
    pb_utils.Logger.log_error(name)
    assert capsys.readouterr().err.endswith("] größe\n")
    pb_utils.MetricFamily(kind(b"size"), name, pb_utils.MetricFamily.GAUGE).Metric({"label": name}).set(2)
    assert pb_utils.MetricFamily("size", "", pb_utils.MetricFamily.GAUGE).Metric({"label": "größe"}).value() == 2


@pytest.mark.parametrize("given", [{"a": 1, "b": "x"}, '{"a": 1, "b": "x"}', b'{"a": 1, "b": "x"}'])
def test_parameters_are_a_dict_or_the_json_text_of_one(given: Any) -> None:
    request = pb_utils.InferenceRequest(model_name="m", parameters=given)
    again = pb_utils.InferenceRequest(model_name="m", parameters=request.parameters())
    response = pb_utils.InferenceResponse([], parameters=given)
    assert json.loads(again.parameters()) == json.loads(response.parameters()) == {"a": 1, "b": "x"}


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: pb_utils.InferenceRequest(inputs=[], requested_output_names=[]), "needs model_name"),
        (lambda: pb_utils.InferenceRequest(model_name="m", requested_output_names=[""]), "requested_output_names .* is empty"),
        (lambda: pb_utils.InferenceRequest(model_name="m", parameters="[1]"), "or the JSON text of an object, got list"),
        (lambda: pb_utils.InferenceRequest(model_name="m", parameters="{"), "is not JSON"),
        (lambda: pb_utils.InferenceRequest(model_name="m", parameters={1: 2}), "names of parameters must be texts"),
        (lambda: pb_utils.InferenceRequest(model_name="m", parameters={"a": None}), "'a': NoneType"),
    ],
)
def test_wrong_arguments_of_a_request_are_refused(make: Callable[[], Any], text: str) -> None:
    with pytest.raises(pb_utils.TritonModelException, match=text):
        make()


TENSOR = pb_utils.Tensor("X", np.zeros(1, np.float32))
NEEDED = {"model_name": "m", "inputs": [TENSOR], "requested_output_names": ["Y"]}


@pytest.mark.parametrize(
    "call",
    [
        *(lambda name=name: pb_utils.InferenceRequest(**{**NEEDED, name: None}) for name in REQUEST.split()[:8]),
        lambda: pb_utils.InferenceRequest(**{**NEEDED, "requested_output_names": [None]}),
        lambda: pb_utils.InferenceResponse(None),
        lambda: pb_utils.Tensor(None, np.zeros(1)),
        lambda: pb_utils.Tensor("X", None),
        lambda: pb_utils.Tensor("X", [1, 2]),
        lambda: pb_utils.TritonError(None),
        lambda: pb_utils.Logger.log("x", None),
        lambda: pb_utils.Logger.log("x", 1),
        lambda: pb_utils.Logger.log_verbose(None),
        lambda: pb_utils.MetricFamily(None, "", 0),
    ],
)
def test_a_missing_required_argument_is_a_type_error(call: Callable[[], Any]) -> None:
    with pytest.raises(TypeError):
        call()


def test_a_single_text_is_not_split_into_its_letters() -> None:
    with pytest.raises(TypeError, match="put it into a list"):
        pb_utils.InferenceRequest(model_name="m", requested_output_names="OUT")


def test_an_asynchronous_request_can_be_waited_for_with_others(host: Recorder) -> None:
    async def ask() -> int:
        requests = [pb_utils.InferenceRequest(model_name="m") for _ in range(3)]
        waiting = [each.async_exec() for each in requests]
        assert all(isinstance(each, asyncio.Future) for each in waiting)
        assert len(host.calls) == 3
        done, _ = await asyncio.wait(waiting)
        return len(done)

    assert asyncio.run(ask()) == 3


def test_the_responses_of_a_decoupled_model_can_be_iterated_again(host: Recorder) -> None:
    def numbers(responses: Any) -> list[int]:
        return [int(each.output_tensors()[0].as_numpy()[0]) for each in responses]

    responses = pb_utils.InferenceRequest("4", model_name="m").exec(True)
    assert numbers([next(responses)]) == [3]
    assert numbers(responses) == [2, 1, 0]
    with pytest.raises(StopIteration):
        next(responses)
    assert numbers(responses) == numbers(responses) == [3, 2, 1, 0]
    assert numbers([each for each, _ in zip(responses, range(2), strict=False)]) == [3, 2]

    async def ask() -> list[int]:
        responses = await pb_utils.InferenceRequest("2", model_name="m").async_exec(decoupled=True)
        return numbers([each async for each in responses]) + numbers([each async for each in responses]) + numbers(responses)

    assert asyncio.run(ask()) == [1, 0] * 3


def test_a_configuration_is_changed_in_place_and_its_contradictions_are_value_errors() -> None:
    config = pb_utils.ModelConfig('{"name": "m", "max_batch_size": 4}')
    config.as_dict()["parameters"] = {"a": {"string_value": "b"}}
    assert config.as_dict()["parameters"] == {"a": {"string_value": "b"}}
    with pytest.raises(ValueError, match="sets max_batch_size 4"):
        config.set_max_batch_size(8)
    assert pb_utils.TRITON_STRING_TO_NUMPY["TYPE_STRING"] is np.object_
