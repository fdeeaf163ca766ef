"""A Triton model's configuration decides how its requests are scheduled; clients are Triton's own."""

import queue
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as http
from onnx import helper
from tritonclient.utils import InferenceServerException

from tests.conftest import MODULES, Server, free_port, servers
from tests.onnx_models import save_graph
from tests.triton_models import FLOAT, SCALE, tensor, write_scale

CONTROLS = """
control_input [
  { name: "START" control [ { kind: CONTROL_SEQUENCE_START fp32_false_true: [0, 1] } ] },
  { name: "READY" control [ { kind: CONTROL_SEQUENCE_READY fp32_false_true: [0, 1] } ] }
]"""
STATE = """
state [ { input_name: "KEPT" output_name: "KEEP" data_type: TYPE_FP32 dims: [1] initial_state: { name: "zero" data_type: TYPE_FP32 dims: [1]
  zero_data: true } } ]"""
COUNTER = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        self.sums, self.executions = {}, 0

    def execute(self, requests):
        self.executions += 1
        responses = []
        for request in requests:
            id_ = int(pb_utils.get_input_tensor_by_name(request, "CORRID").as_numpy().item())
            assert request.correlation_id() == id_
            if pb_utils.get_input_tensor_by_name(request, "START").as_numpy().item():
                self.sums[id_] = 0
            x = pb_utils.get_input_tensor_by_name(request, "X").as_numpy()
            self.sums[id_] += int(x.item())
            outputs = [np.array([[self.sums[id_]]], np.int32), np.array([[len(requests)]], np.int32)]
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor(n, a) for n, a in zip(["SUM", "TOGETHER"], outputs)]))
        return responses
"""
PRIMED = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        self.seen = []

    def execute(self, requests):
        responses = []
        for request in requests:
            self.seen.append(float(pb_utils.get_input_tensor_by_name(request, "X").as_numpy().sum()))
            if self.seen[-1] < 0:
                raise ValueError("below zero")
            seen = np.array([self.seen], np.float64)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("SEEN", seen)]))
        return responses
"""


def write(store: Path, name: str, config: str, model: str = "") -> Path:
    (store / name / "1").mkdir(parents=True)
    if model:
        (store / name / "1" / "model.py").write_text(model)
    (store / name / "config.pbtxt").write_text(f'name: "{name}" backend: "{"python" if model else "onnxruntime"}" {config}')
    return store / name / "1"


def write_accumulator(store: Path, name: str, strategy: str, batch: int = 4) -> None:
    """``SUM`` is ``KEPT + X``, where ``KEPT`` is the ``KEEP`` of the request before; what stands for no request must not count."""
    config = f"max_batch_size: {batch} input [ {tensor('X', [1])} ] output [ {tensor('SUM', [1])} ]"
    folder = write(store, name, f"{config} sequence_batching {{ {strategy} {CONTROLS} {STATE} max_sequence_idle_microseconds: 60000000 }}")
    nodes = [
        helper.make_node("Constant", [], ["one"], value=helper.make_tensor("", FLOAT, [1], [1.0])),
        helper.make_node("Mul", ["X", "READY"], ["counted"]),
        helper.make_node("Sub", ["one", "START"], ["going_on"]),
        helper.make_node("Mul", ["KEPT", "going_on"], ["before"]),
        helper.make_node("Add", ["before", "counted"], ["SUM"]),
        helper.make_node("Identity", ["SUM"], ["KEEP"]),
    ]
    shape: list[Any] = ["n", 1] if batch else [1]
    save_graph(
        folder / "model.onnx",
        nodes,
        [(each, FLOAT, shape) for each in ("X", "START", "READY", "KEPT")],
        [(each, FLOAT, shape) for each in ("SUM", "KEEP")],
    )


@pytest.fixture(scope="module")
def grpc_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def server(grpc_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    store = tmp_path_factory.mktemp("store")
    write_accumulator(store, "direct", "direct {}")
    write_accumulator(store, "oldest", "oldest { max_candidate_sequences: 8 }")
    write_accumulator(store, "unbatched", "direct {}", batch=0)
    corrid = '{ name: "CORRID" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } ] }'
    start = '{ name: "START" control [ { kind: CONTROL_SEQUENCE_START bool_false_true: [false, true] } ] }'
    config = (
        f"max_batch_size: 4 input [ {tensor('X', [1], 'TYPE_INT32')} ] "
        f"output [ {tensor('SUM', [1], 'TYPE_INT32')}, {tensor('TOGETHER', [1], 'TYPE_INT32')} ]"
    )
    for name, delay_us in (("counter", 50_000), ("patient", 60_000_000)):
        oldest = f"oldest {{ max_candidate_sequences: 8 max_queue_delay_microseconds: {delay_us} preferred_batch_size: [4] }}"
        sequences = f"sequence_batching {{ {oldest} control_input [ {start}, {corrid} ] }}"
        write(store, name, f"{config} {sequences}", COUNTER)
    primed = f"max_batch_size: 8 input [ {tensor('X', [2])} ] output [ {tensor('SEEN', [-1], 'TYPE_FP64')} ]"
    samples = """
    model_warmup [
      { name: "numbers" batch_size: 1 count: 2
        inputs { key: "X" value: { data_type: TYPE_FP32 dims: [2] input_data_file: "three and four" } } },
      { name: "zeros" batch_size: 3 inputs { key: "X" value: { data_type: TYPE_FP32 dims: [2] zero_data: true } } }
    ]"""
    folder = write(store, "primed", primed + samples, PRIMED).parent
    (folder / "warmup").mkdir()
    (folder / "warmup" / "three and four").write_bytes(np.array([3, 4], "<f4").tobytes())
    write_scale(store, "cached", SCALE + " response_cache { enable: true }")
    policy = "priority_levels: 2 default_priority_level: 2 default_queue_policy { max_queue_size: 1 }"
    write_scale(store, "choosy", SCALE + f" dynamic_batching {{ {policy} }}")
    shutil.copytree(MODULES / "triton" / "pb_repeat", store / "pb_repeat")
    home = tmp_path_factory.mktemp("home")
    with servers(home, tmp_path_factory.mktemp("servers")) as start_server:
        yield start_server({}, model_store=[str(store)], grpc_port=grpc_port)


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    with connected(server) as made:
        yield made


def connected(server: Server) -> Any:
    """A client of one thread's own."""
    return http.InferenceServerClient(f"127.0.0.1:{server.port}")


def ask_alone(server: Server, model: str, array: np.ndarray, name: str = "X", **options: Any) -> Any:
    """Ask from a thread."""
    with connected(server) as client:
        return ask(client, model, array, name, **options)


def ask(client: Any, model: str, array: np.ndarray, name: str = "X", **options: Any) -> Any:
    sent = http.InferInput(name, list(array.shape), {"f": "FP32", "i": "INT32"}[array.dtype.kind])
    sent.set_data_from_numpy(array)
    return client.infer(model, [sent], **options)


def sums(server: Server, model: str, sequence: int, numbers: list[int], array: np.ndarray) -> list[float]:
    """One sequence, request by request."""
    found = []
    with connected(server) as client:
        for index, number in enumerate(numbers):
            flags = {"sequence_start": not index, "sequence_end": index == len(numbers) - 1}
            found.append(ask(client, model, array * number, sequence_id=sequence, **flags).as_numpy("SUM").item())
    return found


@pytest.mark.parametrize(
    ("model", "one"),
    [
        ("direct", np.ones((1, 1), np.float32)),
        ("oldest", np.ones((1, 1), np.float32)),
        ("unbatched", np.ones(1, np.float32)),
        ("counter", np.ones((1, 1), np.int32)),
    ],
)
def test_sequences_of_many_clients_are_kept_apart(server: Server, model: str, one: np.ndarray) -> None:
    numbers = {sequence: [sequence * step for step in range(1, 6)] for sequence in range(1, 11)}
    with ThreadPoolExecutor(10) as threads:
        answers = {each: threads.submit(sums, server, model, each, of, one) for each, of in numbers.items()}
    for sequence, of in numbers.items():
        assert answers[sequence].result() == np.cumsum(of).tolist()


def test_requests_of_different_sequences_come_to_a_model_together(server: Server) -> None:
    one = np.ones((1, 1), np.int32)
    with ThreadPoolExecutor(4) as threads:
        asked = [threads.submit(ask_alone, server, "patient", one, sequence_id=100 + each, sequence_start=True) for each in range(4)]
    assert {each.result().as_numpy("TOGETHER").item() for each in asked} == {4}


def test_what_is_no_part_of_a_sequence_is_refused_as_triton_does(client: Any) -> None:
    one = np.ones((1, 1), np.float32)
    with pytest.raises(InferenceServerException, match="sequence 77 to model 'direct' must specify the START flag") as no_start:
        ask(client, "direct", one, sequence_id=77)
    assert no_start.value.status() == "400"
    with pytest.raises(InferenceServerException, match="must specify a non-zero or non-empty correlation ID"):
        ask(client, "direct", one)
    with pytest.raises(InferenceServerException, match="must specify batch-size 1"):
        ask(client, "direct", np.ones((2, 1), np.float32), sequence_id=78, sequence_start=True)


def test_controls_and_states_are_no_matter_of_clients(client: Any) -> None:
    metadata = client.get_model_metadata("direct")
    assert [each["name"] for each in metadata["inputs"]] == ["X"]
    assert [each["name"] for each in metadata["outputs"]] == ["SUM"]
    answer = ask(client, "direct", np.ones((1, 1), np.float32), sequence_id=79, sequence_start=True, sequence_end=True)
    assert [each["name"] for each in answer.get_response()["outputs"]] == ["SUM"]


def test_a_model_is_warm_before_it_is_asked(client: Any) -> None:
    seen = ask(client, "primed", np.ones((1, 2), np.float32)).as_numpy("SEEN")
    assert seen.ravel().tolist() == [7.0, 7.0, 0.0, 0.0, 0.0, 2.0]


def test_statistics_tell_hits_of_the_response_cache_from_computing(client: Any) -> None:
    for number in (1, 2, 1, 1):
        answer = ask(client, "cached", np.full((1, 4), number, np.float32), name="x")
        assert answer.as_numpy("y").tolist() == [[2.0 * number] * 4]
    (stats,) = client.get_inference_statistics("cached")["model_stats"]
    counts = {name: each["count"] for name, each in stats["inference_stats"].items()}
    assert (counts["cache_hit"], counts["cache_miss"], counts["success"], counts["queue"]) == (2, 2, 4, 4)
    assert stats["inference_count"] == 2


def test_each_response_of_a_decoupled_model_is_counted_by_its_position(server: Server, grpc_port: int, client: Any) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    with triton_grpc.InferenceServerClient(f"127.0.0.1:{grpc_port}") as streaming:
        streaming.start_stream(lambda result, error: answers.put((result, error)))
        for count, how in ((3, ""), (1, ""), (5, "error")):
            sent = triton_grpc.InferInput("COUNT", [1], "INT32")
            sent.set_data_from_numpy(np.array([count], np.int32))
            streaming.async_stream_infer("pb_repeat", [sent], parameters={"how": how})
        told = [answers.get(timeout=20) for _ in range(3 + 1 + 3)]
        streaming.stop_stream()
    (failed,) = [str(error) for _, error in told if error]
    assert "two is too many" in failed
    (stats,) = client.get_inference_statistics("pb_repeat")["model_stats"]
    counted = {place: (each["success"]["count"], each["fail"]["count"]) for place, each in stats["response_stats"].items()}
    assert counted == {"0": (3, 0), "1": (2, 0), "2": (1, 1)}
    assert (stats["inference_stats"]["success"]["count"], stats["inference_stats"]["fail"]["count"]) == (2, 1)


def test_a_priorities_part_of_the_queue_has_its_bound(server: Server, client: Any) -> None:
    """The instance is kept busy: of many requests that come at once some are refused, by name."""
    array = np.ones((8, 4), np.float32)
    with ThreadPoolExecutor(16) as threads:
        asked = [threads.submit(ask_alone, server, "choosy", array, "x", priority=priority) for priority in (0, 1) * 100]
    errors = [error for each in asked if (error := each.exception())]
    assert all("Exceeds maximum queue size" in str(each) for each in errors), errors
    (stats,) = client.get_inference_statistics("choosy")["model_stats"]
    counts = {name: each["count"] for name, each in stats["inference_stats"].items()}
    assert (counts["success"], counts["fail"]) == (200 - len(errors), len(errors))


@pytest.mark.usefixtures("server")
def test_a_stream_may_send_a_sequence_without_waiting_for_answers(grpc_port: int) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    with triton_grpc.InferenceServerClient(f"127.0.0.1:{grpc_port}") as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for step in range(1, 21):
            for sequence in (501, 502, "a text"):
                sent = triton_grpc.InferInput("X", [1, 1], "FP32")
                sent.set_data_from_numpy(np.full((1, 1), step, np.float32))
                flags = {"sequence_start": step == 1, "sequence_end": step == 20}
                client.async_stream_infer("oldest", [sent], request_id=f"{sequence}-{step}", sequence_id=sequence, **flags)
        found: dict[str, list[float]] = {}
        for _ in range(60):
            result, error = answers.get(timeout=20)
            assert error is None
            found.setdefault(result.get_response().id.rsplit("-")[0], []).append(result.as_numpy("SUM").item())
        client.stop_stream()
    assert found == {name: np.cumsum(range(1, 21)).tolist() for name in ("501", "502", "a text")}
