"""Ensembles of models that leave something out, answer often, or have nothing to compute."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import pytest
import requests
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from hubserve.errors import HubError, InvalidInput, ModuleFailed
from hubserve.gateway.dataplane import DataPlane
from hubserve.types import InferRequest
from tests.behaviours.test_ensembles import served
from tests.conftest import free_port, servers
from tests.triton_models import scale, tensor

pytestmark = pytest.mark.usefixtures("home")

HEAD = """
import time
import numpy as np
import triton_python_backend_utils as pb_utils

def of(request, name):
    found = pb_utils.get_input_tensor_by_name(request, name)
    return None if found is None else found.as_numpy()

def answer(**outputs):
    return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in outputs.items()])

class TritonPythonModel:
    def execute(self, requests):
"""
#: returns its inputs, and says which outputs were requested
SAME = """
        return [answer(**{n: of(r, i) for n, i in (("A", "X"), ("B", "Y")) if of(r, i) is not None}) for r in requests]
"""
PARTIAL = """
        answers = []
        for r in requests:
            outputs = {"A": of(r, "X")}
            if "B" in r.requested_output_names() and of(r, "X")[0] > 10:
                outputs["B"] = of(r, "X") * 2
            answers.append(answer(**outputs))
        return answers
"""
#: 0, 1, ... for as long as the client is there; counts from its input
REPEAT = """
        for r in requests:
            sender, (count, start) = r.get_response_sender(), of(r, "X")[:2]
            for number in range(int(count)):
                if sender.is_cancelled():
                    open(FOLDER + "/cancelled", "w").close()
                    break
                if number == 3:
                    sender.send(pb_utils.InferenceResponse(error=pb_utils.TritonError("three is too many")))
                    break
                sender.send(answer(A=np.array([start + number, count], np.float32)))
                time.sleep(0.01 if count > 50 else 0)
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
PLUS = """
        for r in requests:
            if of(r, "X")[0] == 77:
                raise ValueError("not this one")
        return [answer(A=of(r, "X") + 100) for r in requests]
"""
FLOATS = "[ -1 ]"


def tensors(names: str, optional: bool = False, dims: str = FLOATS) -> str:
    return ", ".join(
        f"{{ name: '{each}' data_type: TYPE_FP32 dims: {dims} {'optional: true' if optional else ''} }}" for each in names.split()
    )


def model(store: Path, name: str, body: str, inputs: str = tensors("X"), outputs: str = tensors("A"), more: str = "") -> None:
    (store / name / "1").mkdir(parents=True)
    (store / name / "1" / "model.py").write_text(HEAD + body.replace("FOLDER", repr(str(store.parent))))
    (store / name / "config.pbtxt").write_text(f"backend: 'python' input [ {inputs} ] output [ {outputs} ] {more}")


def step(name: str, takes: str, gives: str) -> str:
    """A step; ``takes`` and ``gives`` are lists such as ``X=in Y=other``."""
    maps = [(side, *each.split("=")) for side, listed in (("input_map", takes), ("output_map", gives)) for each in listed.split()]
    return f"{{ model_name: '{name}' model_version: -1 " + " ".join(f"{s} {{ key: '{k}' value: '{v}' }}" for s, k, v in maps) + " }"


def ensemble(store: Path, name: str, inputs: str, outputs: str, *steps: str, head: str = "") -> None:
    (store / name).mkdir(parents=True)
    scheduling = f"ensemble_scheduling {{ step [ {', '.join(steps)} ] }}"
    (store / name / "config.pbtxt").write_text(f"platform: 'ensemble' {head} input [ {inputs} ] output [ {outputs} ] {scheduling}")


DECOUPLED = "model_transaction_policy { decoupled: true }"


def request(name: str, outputs: list[str] | None = None, **given: list[float]) -> InferRequest:
    arrays = {each: np.array(values, np.float32) for each, values in given.items()}
    return InferRequest(name, tensors=arrays, wants_json=False, outputs=outputs)


async def ask(plane: DataPlane, asked: InferRequest) -> dict[str, Any]:
    answer = await plane.infer(asked)
    return {name: array.tolist() for name, array in (answer.tensors or {}).items()}


async def stream(plane: DataPlane, asked: InferRequest) -> list[dict[str, Any]]:
    return [{name: array.tolist() for name, array in (each.tensors or {}).items()} async for each in plane.stream(asked)]


def run(tmp_path: Path, use: Callable[[DataPlane], Awaitable[None]]) -> None:
    served(tmp_path / "store", use)


def test_optional_inputs_are_left_out_and_what_does_not_come_of_them_too(tmp_path: Path) -> None:
    store = tmp_path / "store"
    model(store, "same", SAME, tensors("X Y", optional=True), tensors("A B"))
    model(store, "strict", SAME, tensors("X") + "," + tensors("Y", optional=True), tensors("A B"))
    inputs = tensors("x y", optional=True)
    ensemble(store, "chain", inputs, tensors("a b"), step("same", "X=x Y=y", "A=m B=n"), step("same", "X=m Y=n", "A=a B=b"))
    ensemble(store, "strict_end", inputs, tensors("a b"), step("same", "X=x Y=y", "A=m B=n"), step("strict", "X=m Y=n", "A=a B=b"))

    async def use(plane: DataPlane) -> None:
        assert list(plane.get("chain").description.optional) == ["x", "y"]
        assert await ask(plane, request("chain", x=[1], y=[2])) == {"a": [1], "b": [2]}
        assert await ask(plane, request("chain", ["a"], x=[1])) == {"a": [1]}
        assert await ask(plane, request("chain", ["b"], y=[2])) == {"b": [2]}
        assert await ask(plane, request("strict_end", ["a"], x=[1])) == {"a": [1]}
        with pytest.raises(ModuleFailed, match=r"step 2 \(model 'same'\): the model's answer lacks the outputs \['B'\]"):
            await ask(plane, request("chain", x=[1]))
        with pytest.raises(ModuleFailed, match=r"step 1 \(model 'same'\) returned no output 'A'; it returned B"):
            await ask(plane, request("strict_end", ["b"], y=[2]))
        with pytest.raises(InvalidInput, match="unexpected inference input 'z'"):
            await ask(plane, request("chain", z=[1]))

    run(tmp_path, use)


def test_an_output_that_depends_on_an_input_that_was_left_out_says_so(tmp_path: Path) -> None:
    store = tmp_path / "store"
    model(store, "plus", PLUS)
    inputs = tensors("x") + "," + tensors("y", optional=True)
    ensemble(store, "two", inputs, tensors("a b"), step("plus", "X=x", "A=a"), step("plus", "X=y", "A=m"), step("plus", "X=m", "A=b"))

    async def use(plane: DataPlane) -> None:
        assert await ask(plane, request("two", x=[1], y=[2])) == {"a": [101], "b": [202]}
        assert await ask(plane, request("two", ["a"], x=[1])) == {"a": [101]}
        with pytest.raises(
            InvalidInput, match="output 'b' of ensemble 'two' cannot be computed: the request does not have the optional input 'y'"
        ):
            await ask(plane, request("two", x=[1]))
        with pytest.raises(InvalidInput, match="these are missing: .'x'."):
            await ask(plane, request("two", y=[1]))

    run(tmp_path, use)


def test_a_step_is_asked_only_for_the_outputs_that_are_needed(tmp_path: Path) -> None:
    store = tmp_path / "store"
    model(store, "partial", PARTIAL, outputs=tensors("A B"))
    model(store, "plus", PLUS)
    ensemble(store, "both", tensors("x"), tensors("a b c"), step("partial", "X=x", "A=a B=b"), step("plus", "X=b", "A=c"))

    async def use(plane: DataPlane) -> None:
        assert await ask(plane, request("both", ["a"], x=[1])) == {"a": [1]}
        assert plane.get("plus").requests == 0
        assert await ask(plane, request("both", ["c"], x=[11])) == {"c": [122]}
        assert await ask(plane, request("both", x=[20])) == {"a": [20], "b": [40], "c": [140]}
        with pytest.raises(ModuleFailed, match=r"step 1 \(model 'partial'\): the model's answer lacks the outputs \['B'\]"):
            await ask(plane, request("both", ["b"], x=[1]))

    run(tmp_path, use)


def test_a_decoupled_step_makes_as_many_answers_each_of_which_goes_through_the_rest(tmp_path: Path) -> None:
    store = tmp_path / "store"
    model(store, "repeat", REPEAT, more=DECOUPLED)
    model(store, "plus", PLUS)
    ensemble(store, "simple", tensors("x"), tensors("a"), step("repeat", "X=x", "A=a"))
    ensemble(
        store, "fan", tensors("x"), tensors("a b c"), step("repeat", "X=x", "A=a"), step("plus", "X=a", "A=b"), step("plus", "X=x", "A=c")
    )
    ensemble(store, "inside", tensors("x"), tensors("a"), step("simple", "x=x", "a=m"), step("plus", "X=m", "A=a"))
    ensemble(
        store, "chain", tensors("x"), tensors("a"), step("plus", "X=x", "A=m"), step("repeat", "X=x", "A=n"), step("repeat", "X=n", "A=a")
    )
    ensemble(store, "apart", tensors("x"), tensors("a b"), step("repeat", "X=x", "A=a"), step("repeat", "X=x", "A=b"))

    async def use(plane: DataPlane) -> None:
        fan = plane.get("fan")
        assert fan.description.decoupled
        assert (fan.description.config or {})["model_transaction_policy"] == {"decoupled": True}
        assert await stream(plane, request("simple", x=[2, 5])) == [{"a": [5, 2]}, {"a": [6, 2]}]
        assert await stream(plane, request("fan", x=[2, 5])) == [
            {"a": [5, 2], "b": [105, 102], "c": [102, 105]},
            {"a": [6, 2], "b": [106, 102], "c": [102, 105]},
        ]
        assert plane.get("plus").requests == 3, "what does not depend on the decoupled step is computed once"
        assert await stream(plane, request("fan", ["c"], x=[2, 5])) == [{"c": [102, 105]}]
        assert await stream(plane, request("inside", x=[2, 5])) == [{"a": [105, 102]}, {"a": [106, 102]}]
        assert await stream(plane, request("chain", x=[2, 1])) == [{"a": [2, 1]}, {"a": [2, 2]}, {"a": [3, 2]}]
        assert await stream(plane, request("simple", x=[0, 5])) == []
        with pytest.raises(InvalidInput, match="ensemble 'fan' is decoupled"):
            await ask(plane, request("fan", x=[2, 5]))
        reason = plane.get("apart").load_error
        assert "step 1 (model 'repeat') and step 2 (model 'repeat') each answer any number of times" in reason

    run(tmp_path, use)


def test_an_error_ends_the_answers_of_a_decoupled_ensemble_and_so_does_its_client(tmp_path: Path) -> None:
    store = tmp_path / "store"
    model(store, "repeat", REPEAT, more=DECOUPLED)
    model(store, "plus", PLUS)
    ensemble(store, "fan", tensors("x"), tensors("a"), step("repeat", "X=x", "A=m"), step("plus", "X=m", "A=a"))

    async def use(plane: DataPlane) -> None:
        for given, error, before in (
            ([5, 5], r"step 1 \(model 'repeat'\): three is too many", 3),
            ([3, 76], r"step 2 .*: not this one", 1),
        ):
            got = []

            async def listen(given: list[float] = given, got: list[Any] = got) -> None:
                async for each in plane.stream(request("fan", x=given)):
                    got.append(each)

            with pytest.raises(HubError, match=error):
                await listen()
            assert len(got) == before
        assert plane.get("fan").failures == 2
        answers = plane.stream(request("fan", x=[1000, -1000]))
        await anext(answers)
        await answers.aclose()  # type: ignore[attr-defined]
        for _ in range(500):
            if (tmp_path / "cancelled").exists():
                break
            await asyncio.sleep(0.02)
        else:
            raise AssertionError("the step did not learn that its client had left")
        assert await stream(plane, request("fan", x=[1, 1])) == [{"a": [101, 101]}]

    run(tmp_path, use)


def test_models_without_inputs_and_tensors_without_elements(tmp_path: Path) -> None:
    store = tmp_path / "store"
    model(store, "version", "\n        return [answer(A=np.array([1, 2], np.float32)) for _ in requests]\n", inputs="")
    model(
        store,
        "none",
        '\n        return [answer(A=np.ones((int(of(r, "X")[0]), 4), np.float32)) for r in requests]\n',
        outputs=tensors("A", dims="[ -1, 4 ]"),
    )
    scale(store / "file" / "1" / "model.onnx")
    file = f"max_batch_size: 0 input [ {tensor('x', [-1, 4])} ] output [ {tensor('y', [-1, 4])} ]"
    (store / "file" / "config.pbtxt").write_text(f"backend: 'onnxruntime' {file}")
    ensemble(store, "detect", tensors("x"), tensors("a", dims="[ -1, 4 ]"), step("none", "X=x", "A=m"), step("file", "x=m", "y=a"))
    ensemble(store, "versions", "", tensors("a b"), step("version", "", "A=a"), step("version", "", "A=b"))

    async def use(plane: DataPlane) -> None:
        assert await ask(plane, request("version")) == {"A": [1, 2]}
        assert await ask(plane, request("versions")) == {"a": [1, 2], "b": [1, 2]}
        assert await ask(plane, request("detect", x=[2])) == {"a": [[2] * 4] * 2}
        answer = await plane.infer(request("detect", x=[0]))
        assert answer.tensors is not None
        assert answer.tensors["a"].shape == (0, 4)
        with pytest.raises(InvalidInput, match="unexpected inference input 'x'"):
            await ask(plane, request("version", x=[1]))

    run(tmp_path, use)


# --- as clients see them ---

BEFORE = """
        return [answer(IDS=np.array([[len(each) for each in row] for row in of(r, "TEXT")], np.int32)) for r in requests]
"""
GENERATE = """
        for r in requests:
            sender, more = r.get_response_sender(), of(r, "MORE")
            for number in range(3 if more is None else int(more[0, 0])):
                sender.send(answer(OUT=of(r, "IDS") + np.int32(number)))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""
AFTER = """
        return [answer(SAID=np.array([[" ".join(map(str, row))] for row in of(r, "IDS")], object)) for r in requests]
"""


def test_clients_are_streamed_the_answers_of_an_ensemble_with_a_generating_step(shared_home: Path, tmp_path: Path) -> None:
    store, ints, texts = tmp_path / "store", "data_type: TYPE_INT32 dims: [ -1 ]", "data_type: TYPE_STRING dims: [ -1 ]"
    more = "data_type: TYPE_INT32 dims: [ 1 ] optional: true"
    model(store, "before", BEFORE, f"{{ name: 'TEXT' {texts} }}", f"{{ name: 'IDS' {ints} }}", "max_batch_size: 4")
    generator = f"{{ name: 'IDS' {ints} }}, {{ name: 'MORE' {more} }}"
    model(store, "generate", GENERATE, generator, f"{{ name: 'OUT' {ints} }}", f"max_batch_size: 4 {DECOUPLED}")
    model(store, "after", AFTER, f"{{ name: 'IDS' {ints} }}", f"{{ name: 'SAID' {texts} }}", "max_batch_size: 4")
    steps = step("before", "TEXT=text", "IDS=ids"), step("generate", "IDS=ids MORE=more", "OUT=out"), step("after", "IDS=out", "SAID=said")
    ensemble(
        store,
        "chat",
        f"{{ name: 'text' {texts} }}, {{ name: 'more' {more} }}",
        f"{{ name: 'said' {texts} }}",
        *steps,
        head="max_batch_size: 4",
    )
    grpc_port = free_port()
    with servers(shared_home, tmp_path) as start:
        server = start({}, model_store=[str(store)], grpc_port=grpc_port)
        url = f"{server.url}/v2/models/chat"
        assert requests.get(f"{url}/config", timeout=30).json()["model_transaction_policy"] == {"decoupled": True}
        events = requests.post(f"{url}/generate_stream", json={"text": ["ab", "cde"]}, timeout=30).text.split("\n\n")
        assert [json.loads(line.removeprefix("data: "))["said"] for line in events if line] == ["2 3", "3 4", "4 5"]
        assert requests.post(f"{url}/generate", json={"text": "ab", "more": 1}, timeout=30).json()["said"] == "2"
        got: Queue[tuple[Any, Any]] = Queue()
        with triton_grpc.InferenceServerClient(f"127.0.0.1:{grpc_port}") as client:
            text = triton_grpc.InferInput("text", [1, 1], "BYTES")
            text.set_data_from_numpy(np.array([["abcd"]], object))
            with pytest.raises(InferenceServerException, match="decoupled"):
                client.infer("chat", [text])
            client.start_stream(lambda result, error: got.put((result, error)))
            client.async_stream_infer("chat", [text], enable_empty_final_response=True, request_id="7")
            said = []
            while True:
                result, error = got.get(timeout=30)
                assert error is None, error
                if result.get_response().parameters["triton_final_response"].bool_param:
                    break
                said.append(result.as_numpy("said")[0, 0].decode())
            client.stop_stream()
        assert said == ["4", "5", "6"]
