"""Test the interface that models of Triton's Python backend import."""

import gc
import importlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubserve.errors import DeadlineExceeded, Exists, HubError, ModuleFailed, ModuleNotFound, Overloaded
from hubserve.kinds.raw_requests import Call, Host, RawRequest, RawResponse, Replies
from hubserve.kinds.triton.api import dlpack
from hubserve.kinds.triton.api.requests import attach
from hubserve.kinds.triton.python_config import complete, describe
from hubserve.kinds.triton.python_model import TritonPythonModule
from tests.odd_arrays import LAYOUTS, SENDABLE, UNSENDABLE, array_of, values
from tests.odd_arrays import arrays as odd_arrays

pb_utils: Any = importlib.import_module("hubserve.compat.triton_python_backend_utils")


@pytest.mark.parametrize(
    ("name", "numpy_type"),
    [("TYPE_BOOL", np.bool_), ("TYPE_INT8", np.int8), ("TYPE_UINT64", np.uint64), ("TYPE_FP16", np.float16), ("TYPE_STRING", np.object_)],
)
def test_datatypes_have_names_numbers_and_numpy_types(name: str, numpy_type: Any) -> None:
    assert pb_utils.triton_string_to_numpy(name) is numpy_type
    assert pb_utils.triton_to_numpy_type(pb_utils.numpy_to_triton_type(numpy_type)) is numpy_type


def test_bfloat16_is_known_and_other_names_are_refused() -> None:
    assert pb_utils.triton_string_to_numpy("TYPE_BF16") is None
    with pytest.raises(pb_utils.TritonModelException, match="unknown datatype 'TYPE_FP8'"):
        pb_utils.triton_string_to_numpy("TYPE_FP8")
    with pytest.raises(pb_utils.TritonModelException, match="complex128"):
        pb_utils.Tensor("X", np.zeros(1, complex))


@settings(deadline=None)
@given(st.lists(st.binary(max_size=20)))
def test_byte_strings_survive_their_binary_form(texts: list[bytes]) -> None:
    array = np.array([*texts, b""], dtype=object)[: len(texts)]
    packed = pb_utils.serialize_byte_tensor(array)
    assert list(pb_utils.deserialize_bytes_tensor(packed)) == texts


def test_tensors_are_exported_and_imported_by_dlpack_without_a_copy() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensor = pb_utils.Tensor("X", array)
    again = pb_utils.Tensor.from_dlpack("Y", tensor.to_dlpack())
    assert (again.name(), again.shape(), again.triton_dtype(), again.is_cpu()) == ("Y", [2, 3], 11, True)
    array[0, 0] = 9
    assert pb_utils.Tensor.from_dlpack("Z", tensor).as_numpy()[0, 0] == again.as_numpy()[0, 0] == 9
    with pytest.raises(pb_utils.TritonModelException, match=r"as_numpy\(\)"):
        pb_utils.Tensor("T", np.array([b"text"], object)).to_dlpack()


@settings(deadline=None)
@given(odd_arrays(SENDABLE))
def test_tensors_of_any_byte_order_and_layout_keep_their_values_through_dlpack(given: tuple[str, Any]) -> None:
    array = np.asarray(given[1])
    tensor = pb_utils.Tensor("X", array)
    again = pb_utils.Tensor.from_dlpack("Y", tensor.to_dlpack())
    for each in (again, pb_utils.Tensor.from_dlpack("Z", again.to_dlpack()), pb_utils.Tensor.from_dlpack("W", tensor)):
        assert values(each.as_numpy()) == values(array)
        assert each.triton_dtype() == tensor.triton_dtype()
        assert each.as_numpy().flags.writeable


def _kind(capsule: Any) -> tuple[int, int]:
    """Return type code and bits of a capsule's dtype."""
    tensor, _ = dlpack._read(capsule)
    return tensor.dtype.code, tensor.dtype.bits


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "no dimension"])
def test_bfloat16_survives_dlpack(layout: str) -> None:
    array = LAYOUTS[layout](array_of("uint16"))
    tensor = pb_utils.Tensor.from_request("X", array, "bfloat16")
    assert _kind(tensor.to_dlpack()) == _kind(tensor.__dlpack__(max_version=(1, 0))) == (4, 16)
    again = pb_utils.Tensor.from_dlpack("Y", tensor.to_dlpack())
    assert (again.triton_dtype(), values(again.as_numpy())) == (14, values(array))
    assert _kind(again.to_dlpack()) == (4, 16)
    assert _kind(pb_utils.Tensor("U", array_of("uint16")).to_dlpack()) == (1, 16)
    whole = pb_utils.InferenceResponse([again]).to_raw()
    assert pb_utils.InferenceResponse.from_raw(whole).output_tensors()[0].triton_dtype() == 14


def test_a_tensor_of_a_capsule_shares_its_memory_may_be_written_to_and_keeps_it_alive() -> None:
    array = np.zeros(1000, np.float32)
    tensor = pb_utils.Tensor.from_dlpack("X", array.__dlpack__())
    tensor.as_numpy()[0] = 7
    assert array[0] == 7
    capsule = tensor.to_dlpack()
    del array, tensor
    gc.collect()
    assert pb_utils.Tensor.from_dlpack("Y", capsule).as_numpy()[0] == 7
    frozen = np.zeros(2)
    frozen.flags.writeable = False
    assert not pb_utils.Tensor.from_dlpack("F", frozen).as_numpy().flags.writeable, "it says that it must not be written to"


@pytest.mark.parametrize("source", [object(), 5, None])
def test_other_objects_and_consumed_capsules_are_refused(source: Any) -> None:
    with pytest.raises(pb_utils.TritonModelException, match="cannot be imported by DLPack: it is not a DLPack capsule"):
        pb_utils.Tensor.from_dlpack("X", source)
    capsule = np.zeros(2).__dlpack__()
    pb_utils.Tensor.from_dlpack("X", capsule)
    with pytest.raises(pb_utils.TritonModelException, match="one that was consumed already"):
        pb_utils.Tensor.from_dlpack("X", capsule)


@pytest.mark.parametrize("dtype", UNSENDABLE)
def test_a_tensor_of_a_dtype_without_a_datatype_is_refused(dtype: str) -> None:
    with pytest.raises(pb_utils.TritonModelException, match="a tensor cannot be of dtype"):
        pb_utils.Tensor("X", array_of(dtype))


def test_responses_hold_tensors_or_an_error() -> None:
    response = pb_utils.InferenceResponse([pb_utils.Tensor("X", np.zeros(1))], parameters={"a": 1})
    assert not response.has_error()
    assert json.loads(response.parameters()) == {"a": 1}
    assert pb_utils.get_output_tensor_by_name(response, "X").shape() == [1]
    assert pb_utils.get_output_tensor_by_name(response, "Y") is None
    failed = pb_utils.InferenceResponse(error=pb_utils.TritonError("there already", pb_utils.TritonError.ALREADY_EXISTS))
    assert (failed.has_error(), failed.error().message(), failed.error().code()) == (True, "there already", 6)
    assert isinstance(failed.to_raw().error, Exists)
    with pytest.raises(pb_utils.TritonModelException, match="got ndarray"):
        pb_utils.InferenceResponse([np.zeros(1)])
    with pytest.raises(pb_utils.TritonModelException, match="'a': list"):
        pb_utils.InferenceResponse([], parameters={"a": []})


@pytest.mark.parametrize(
    ("error", "code"),
    [(ModuleNotFound("x"), 2), (Overloaded("x"), 4), (DeadlineExceeded("x"), 4), (ModuleFailed("x"), 1), (Exists("x"), 6)],
)
def test_errors_of_other_models_have_codes(error: HubError, code: int) -> None:
    assert pb_utils.TritonError.from_hub_error(error).code() == code


def test_a_configuration_is_completed_and_never_contradicted() -> None:
    config = pb_utils.ModelConfig({"max_batch_size": 4, "input": [{"name": "A", "data_type": "TYPE_FP32", "dims": ["2"]}]})
    assert config.as_dict()["output"] == []
    config.set_max_batch_size(2)
    config.add_input({"name": "A", "data_type": "TYPE_FP32", "dims": [2], "optional": True})
    config.add_output({"name": "B", "data_type": "TYPE_STRING", "dims": [1]})
    config.set_dynamic_batching()
    assert config.to_dict() == {
        "max_batch_size": 2,
        "input": [{"name": "A", "data_type": "TYPE_FP32", "dims": ["2"], "optional": True}],
        "output": [{"name": "B", "data_type": "TYPE_STRING", "dims": [1]}],
        "dynamic_batching": {},
    }
    for wrong, text in [
        (lambda: config.add_input({"name": "A", "data_type": "TYPE_INT8", "dims": [2]}), "sets data_type 'TYPE_FP32'"),
        (lambda: config.add_input({"name": "C", "data_type": "TYPE_INT8"}), "has no dims"),
        (lambda: config.add_output({"name": "C", "data_type": "TYPE_INT8", "dims": [], "optional": True}), "no property 'optional'"),
        (lambda: config.set_max_batch_size(8), "sets max_batch_size 2"),
        (lambda: config.set_model_transaction_policy({"other": 1}), "no property 'other'"),
    ]:
        with pytest.raises(pb_utils.TritonModelException, match=text):
            wrong()


def test_metrics_count_in_the_process() -> None:
    family = pb_utils.MetricFamily(name="calls", description="how many", kind=pb_utils.MetricFamily.COUNTER)
    family.Metric(labels={"a": "1"}).increment(2)
    assert pb_utils.MetricFamily("calls", "how many", pb_utils.MetricFamily.COUNTER).Metric({"a": "1"}).value() == 2
    with pytest.raises(pb_utils.TritonModelException, match="only rises"):
        family.Metric({"a": "1"}).increment(-1)
    gauge = pb_utils.MetricFamily("level", "how high", pb_utils.MetricFamily.GAUGE).Metric()
    gauge.set(3)
    gauge.increment(-1)
    assert gauge.value() == 2
    histogram = pb_utils.MetricFamily("sizes", "how large", pb_utils.MetricFamily.HISTOGRAM).Metric(buckets=[1, 2])
    histogram.observe(1.5)
    with pytest.raises(pb_utils.TritonModelException, match=r"histogram has no set\(\)"):
        histogram.set(1)


@pytest.mark.parametrize("name", ["", "größe", "1a", "a b", "a\n", "a{", "nv_inference_count", "hubserve_requests_total", "x" * 201])
def test_metrics_have_names_that_can_be_published(name: str) -> None:
    with pytest.raises(pb_utils.TritonModelException, match="cannot be the name of a metric family"):
        pb_utils.MetricFamily(name, "", pb_utils.MetricFamily.GAUGE)


@pytest.mark.parametrize("labels", [{"größe": "1"}, {"__a": "1"}, {"": "1"}, {"a": "x" * 257}, {f"a{each}": "" for each in range(17)}])
def test_labels_of_metrics_are_few_and_have_names_that_can_be_published(labels: dict[str, str]) -> None:
    with pytest.raises(pb_utils.TritonModelException, match="label"):
        pb_utils.MetricFamily("labelled", "", pb_utils.MetricFamily.GAUGE).Metric(labels)


@pytest.mark.parametrize("buckets", [None, [], [2, 1], [1, 1], [1, float("inf")], [float("nan")], list(range(101))])
def test_histograms_need_ascending_buckets(buckets: list[float] | None) -> None:
    with pytest.raises(pb_utils.TritonModelException, match="buckets"):
        pb_utils.MetricFamily("bucketed", "", pb_utils.MetricFamily.HISTOGRAM).Metric(buckets=buckets)


def test_a_counter_takes_no_nan() -> None:
    metric = pb_utils.MetricFamily("numbers", "", pb_utils.MetricFamily.COUNTER).Metric()
    with pytest.raises(pb_utils.TritonModelException, match="only rises"):
        metric.increment(float("nan"))


def test_log_lines_say_where_they_come_from(capsys: pytest.CaptureFixture[str]) -> None:
    pb_utils.Logger.log_warn("look out")
    pb_utils.Logger.log("well", pb_utils.Logger.INFO)
    pb_utils.Logger.log_verbose("too much")
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("W test_api.py:")
    assert first.endswith("] look out")
    assert second.startswith("I test_api.py:")


# --- execute, without an instance ---


class Recorder(Host):
    """Host that records responses."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, Any, bool]] = []

    def respond(self, key: int, response: RawResponse | None, final: bool) -> None:
        self.sent.append((key, response, final))

    def abandon(self, key: int, error: HubError | None) -> None:
        self.sent.append((key, error, True))

    def has_acted(self, keys: Any) -> bool:
        return any(key in keys for key, _, _ in self.sent)

    def reschedule(self, key: int) -> None:
        raise AssertionError(key)

    def open_keys(self) -> list[int]:
        return []

    def is_cancelled(self, key: int) -> bool:
        return key == 13

    def call(self, call: Call) -> Replies:
        raise AssertionError(call)

    def ask(self, what: str, arguments: dict[str, Any], buffers: Any = ()) -> Any:
        raise AssertionError(what)

    def publish(self, changes: Any) -> None:
        raise AssertionError(changes)


CONFIG = {
    "name": "m",
    "max_batch_size": 8,
    "input": [{"name": "X", "data_type": "TYPE_FP32", "dims": ["1"]}],
    "output": [{"name": "Y", "data_type": "TYPE_FP32", "dims": [1]}],
}


def module_of(model: Any, host: Host | None = None, **config: Any) -> TritonPythonModule:
    described = describe(complete(type(model), {**CONFIG, **config}, "m", None), "m")  # type: ignore[arg-type]
    module = TritonPythonModule(model, described, "m", "1")
    module._host = host
    module.enable_calls()
    return module


def raw(values: list[float]) -> list[RawRequest]:
    return [RawRequest(key, {"X": np.array([[value]], np.float32)}) for key, value in enumerate(values, 1)]


class Doubler:
    """Model that doubles its input, raises for negative numbers, and records the sizes of its batches."""

    def __init__(self) -> None:
        self.given: list[int] = []

    def execute(self, requests: list[Any]) -> list[Any]:
        self.given.append(len(requests))
        arrays = [pb_utils.get_input_tensor_by_name(request, "X").as_numpy() for request in requests]
        if min(float(array[0, 0]) for array in arrays) < 0:
            raise ValueError("below 0")
        return [pb_utils.InferenceResponse([pb_utils.Tensor("Y", array * 2)]) for array in arrays]


@settings(deadline=None)
@given(st.lists(st.sampled_from([1.0, 2.0, -1.0]), min_size=1, max_size=8))
def test_an_exception_reaches_only_the_requests_that_cause_it(values: list[float]) -> None:
    answers = module_of(Doubler()).call_requests(raw(values))
    for value, answer in zip(values, answers, strict=True):
        assert isinstance(answer, RawResponse)
        if value < 0:
            assert str(answer.error) == "below 0"
        else:
            assert answer.outputs["Y"].tolist() == [[2 * value]]


def test_requests_with_effects_are_not_passed_to_a_model_again() -> None:
    class Sender(Doubler):
        def execute(self, requests: list[Any]) -> list[Any]:
            requests[0].get_response_sender()
            return super().execute(requests)

    sender, host = Sender(), Recorder()
    try:
        answers = module_of(sender, host).call_requests(raw([1, -1, 2]))
    finally:
        attach(None)
    assert [str(answer.error) for answer in answers if isinstance(answer, RawResponse)] == ["below 0"] * 3
    assert sender.given == [3]
    assert host.sent == []


def test_a_dropped_sender_ends_its_request_and_a_finished_one_sends_no_more() -> None:
    host = Recorder()

    class Forgetful:
        def execute(self, requests: list[Any]) -> None:
            sender = requests[0].get_response_sender()
            response = pb_utils.InferenceResponse([pb_utils.Tensor("Y", np.ones((1, 1), np.float32))])
            sender.send(response)
            assert requests[1].is_cancelled() is False
            last = requests[1].get_response_sender()
            last.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            with pytest.raises(pb_utils.TritonModelException, match="final response was sent already"):
                last.send(response)

    try:
        module_of(Forgetful(), host, model_transaction_policy={"decoupled": True}).call_requests(raw([1, 2]))
    finally:
        attach(None)
    assert [(key, final) for key, _, final in host.sent] == [(1, False), (2, True), (1, True)]


def test_requests_of_other_models_need_a_server() -> None:
    attach(None)
    with pytest.raises(pb_utils.TritonModelException, match="only while the model is served"):
        pb_utils.InferenceRequest(model_name="m", inputs=[]).exec()
    with pytest.raises(pb_utils.TritonModelException, match="no server with other models"):
        pb_utils.is_model_ready("m")
