"""Documents that are deep, large or unanswerable fail only their own request and do not delay other clients."""

import base64
import gzip
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
import requests
from tritonclient.grpc import service_pb2

from tests.conftest import Server, free_port, hub, servers, toy
from tests.v2 import binary_request, served_under

JSON = {"Content-Type": "application/json"}
ECHO = """
import os
import numpy as np
from hubserve.module import moduleinfo, serving


class Lazy(dict):
    def items(self):
        raise SystemExit("no items")


class Wordless(BaseException):
    def __str__(self):
        raise KeyboardInterrupt


def deep(levels):
    value = 1
    for _ in range(levels):
        value = [value]
    return value


def wordless():
    raise Wordless


ANSWERS = {
    "nested": lambda: deep(5000),
    "lazy": lambda: {"inside": Lazy(a=1)},
    "generator": lambda: (each for each in [1]),
    "wordless": wordless,
    "wordy": lambda: (_ for _ in ()).throw(ValueError("x" * 5_000_000)),
    "no memory": lambda: (_ for _ in ()).throw(MemoryError()),
    "nan": lambda: {"mean": np.float32("nan"), np.int64(3): [float("inf")], "array": np.array([1, np.nan])},
}


@moduleinfo(name="echo", version="1.0.0")
class Echo:
    @serving
    def echo(self, how=None, **given):
        return ANSWERS[how]() if how else {"pid": os.getpid(), **given}
"""


def echo_under(name: str, folder: Path, **settings: Any) -> dict[str, Any]:
    (folder / name).mkdir()
    (folder / name / "module.py").write_text(ECHO.replace('"echo"', f'"{name}"'), "utf-8")
    return {"init_args": {"directory": str(folder / name)}, "workers": 1, **settings}


@pytest.fixture(scope="module")
def server(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("documents")
    modules = {
        "echo": echo_under("echo", folder),
        "merging": echo_under("merging", folder, predict_args={"other": 1}),
        "floats": served_under("tensors", "floats", folder, dtype="float32"),
        "words": served_under("tensors", "words", folder, dtype="bytes"),
        "doubler": {**toy("doubler"), "workers": 1},
    }
    with servers(shared_home, folder) as start:
        yield start(modules, grpc_port=free_port())


@pytest.fixture(scope="module")
def strict(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("strict")
    modules = {"echo": echo_under("echo", folder), "floats": served_under("tensors", "floats", folder, dtype="float32")}
    with servers(shared_home, folder) as start:
        yield start(modules, max_json_depth=8, max_elements=100_000, nan="error", v2_nan="null")


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


def objects(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


V2_ARGUMENTS = '{"inputs":[{"name":"arguments","datatype":"BYTES","shape":[1],"data":["{\\"value\\":@}"]}]}'
#: where -> path, and the body with a document in place of the @
ENTRANCES = {
    "the body": ("/predict/echo", '{"value":@}'),
    "predict_args": ("/predict/merging", '{"value":@}'),
    "an array's description": ("/predict/doubler", '{"about":@,"data":"' + "A" * 8000 + '"}'),
    "v2's document": ("/v2/models/floats/infer", '{"inputs":@}'),
    "v2's arguments": ("/v2/models/echo/infer", V2_ARGUMENTS),
    "generate": ("/v2/models/floats/generate", '{"a":@}'),
    "generate's arguments": ("/v2/models/echo/generate", '{"arguments":"{\\"value\\":@}"}'),
    "control": ("/v2/repository/index", '{"ready":@}'),
}


def filled(body: str, document: str) -> str:
    """Return the body with the document in place of the @; inside a string its quotes are escaped."""
    return body.replace("@", document.replace('"', '\\"') if '\\"' in body else document)


def post(server: Server, path: str, body: Any, **headers: str) -> requests.Response:
    return requests.post(server.url + path, data=body, headers={**JSON, **headers}, timeout=60)


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_a_document_that_is_too_deep_is_refused_and_costs_nobody_else_anything(server: Server, entrance: str) -> None:
    before = {name: server.instance_pids(name) for name in ("echo", "merging", "floats", "doubler")}
    path, body = ENTRANCES[entrance]
    for levels in (501, 990, 1000, 1023, 1024, 1100, 100_000):
        for document in (nested(levels), objects(levels)):
            answer = post(server, path, filled(body, document))
            told = answer.json()
            assert answer.status_code == 400, (levels, told)
            assert "max_json_depth" in (told.get("msg") or told["error"])
            assert told.get("status", "101") == "101"
    assert {name: server.instance_pids(name) for name in before} == before


@pytest.mark.parametrize("name", ["echo", "merging"])
def test_a_document_as_deep_as_the_bound_is_answered(server: Server, name: str) -> None:
    value = json.loads(nested(499))
    assert server.results(name, value=value)["value"] == value
    text = post(server, f"/v2/models/{name}/generate", json.dumps({"arguments": json.dumps({"value": value})})).json()["results"]
    assert json.loads(text)["value"] == value


def test_brackets_inside_texts_are_not_depth(server: Server) -> None:
    value = ['[{"' * 2000, "\\" * 1001 + '"[' * 2000]
    assert server.results("echo", value=value)["value"] == value


def infer(server: Server, message: Any) -> Any:
    port = json.loads(next(server.log.parent.glob(f"config-{server.port}.json")).read_text())["grpc_port"]
    with grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.max_receive_message_length", -1)]) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer", service_pb2.ModelInferRequest.SerializeToString)
        return service_pb2.ModelInferResponse.FromString(call(message, timeout=60))


def test_deep_arguments_over_grpc_are_an_invalid_argument(server: Server) -> None:
    before = server.instance_pids("echo")
    for levels in (501, 1000, 100_000):
        message = service_pb2.ModelInferRequest(model_name="echo")
        message.inputs.add(name="arguments", datatype="BYTES", shape=[1]).contents.bytes_contents.append(
            b'{"value":%s}' % nested(levels).encode()
        )
        with pytest.raises(grpc.RpcError) as refused:
            infer(server, message)
        assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "max_json_depth" in refused.value.details()
    assert server.instance_pids("echo") == before


@pytest.mark.parametrize("how", ["nested", "lazy", "generator", "wordless", "wordy", "no memory"])
def test_an_answer_that_cannot_be_given_costs_its_own_request_only(server: Server, how: str) -> None:
    before = server.instance_pids("echo")
    answer = server.predict("echo", json={"how": how})
    assert answer.status_code == 200
    assert answer.json()["status"] == "101"
    assert 0 < len(answer.json()["msg"]) < 20_000
    assert server.instance_pids("echo") == before
    assert [server.results("echo")["pid"]] == before


def refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def test_numbers_that_are_not_finite_are_null_for_every_parser(server: Server) -> None:
    told = json.loads(server.predict("echo", json={"how": "nan"}).content, parse_constant=refuse)
    assert told["results"] == {"mean": None, "3": [None], "array": [1.0, None]}
    text = post(server, "/v2/models/echo/generate", '{"arguments":{"how":"nan"}}').json()["results"]
    assert json.loads(text, parse_constant=refuse)["mean"] is None


def test_numbers_that_are_not_finite_are_what_the_settings_say(server: Server, strict: Server) -> None:
    answer = strict.predict("echo", json={"how": "nan"}).json()
    assert answer["status"] == "101"
    assert "at ['mean']: it is nan" in answer["msg"]
    body = {"inputs": [{"name": name, "datatype": "FP32", "shape": [1, 2], "data": [1.0, math.nan]} for name in "ab"]}
    given = [json.loads(post(each, "/v2/models/floats/infer", json.dumps(body)).content)["outputs"][0]["data"] for each in (server, strict)]
    assert given[0][0] == given[1][0] == 1.0
    assert math.isnan(given[0][1])
    assert given[1][1] is None


def test_more_values_than_the_bound_are_too_large(strict: Server) -> None:
    for path, body in (
        ("/predict/echo", '{"value":@}'),
        ("/v2/models/floats/infer", '{"inputs":[{"name":"a","datatype":"FP32","shape":[1,100001],"data":@}]}'),
        ("/v2/models/echo/infer", V2_ARGUMENTS),
        ("/v2/models/floats/generate", '{"a":@}'),
    ):
        answer = post(strict, path, filled(body, json.dumps([1] * 100_001)))
        assert answer.status_code == 413, answer.text[:200]
        assert "100000 values" in answer.text
    assert strict.results("echo", value=[1] * 90_000)


# --- large ones, off the event loop ---

NUMBERS = np.random.default_rng(1).random((1, 400_000)).astype(np.float32)
WORDS = np.array([[f"w\u00f6rd {each}".encode() for each in range(40_000)]], object)
TWO = np.zeros((1, 2), np.float32)


def as_json(name: str, array: np.ndarray, datatype: str) -> dict[str, Any]:
    data = [each.decode() for each in array.ravel()] if datatype == "BYTES" else array.ravel().tolist()
    return {"name": name, "datatype": datatype, "shape": list(array.shape), "data": data}


@pytest.mark.parametrize("sent", ["json", "binary", "gzip", "grpc"])
@pytest.mark.parametrize(("model", "datatype", "array"), [("floats", "FP32", NUMBERS), ("words", "BYTES", WORDS)])
def test_large_tensors_come_back_as_they_were_sent(server: Server, sent: str, model: str, datatype: str, array: np.ndarray) -> None:
    small = TWO if datatype == "FP32" else np.array([[b"", b"x" * 300_000 + "\u00e9".encode()]], object)
    path = f"/v2/models/{model}/infer"
    if sent == "grpc":
        message = service_pb2.ModelInferRequest(model_name=model)
        for name, each in (("a", array), ("b", small)):
            contents = message.inputs.add(name=name, datatype=datatype, shape=each.shape).contents
            (contents.fp32_contents if datatype == "FP32" else contents.bytes_contents).extend(each.ravel().tolist())
        answer = infer(server, message)
        raw = dict(zip([each.name for each in answer.outputs], answer.raw_output_contents, strict=True))["a_again"]
        assert raw == binary_request([("a", datatype, array)])[0][-len(raw) :]
        return
    if sent == "binary":
        body, headers = binary_request([("a", datatype, array), ("b", datatype, small)])
    else:
        body, headers = json.dumps({"inputs": [as_json("a", array, datatype), as_json("b", small, datatype)]}).encode(), {}
        if sent == "gzip":
            body, headers = gzip.compress(body, 1), {"Content-Encoding": "gzip"}
    answer = post(server, path, body, **headers)
    given = {each["name"]: each["data"] for each in answer.json()["outputs"]}
    for name, each in (("a", array), ("b", small)):
        expected = as_json(name, each, datatype)["data"]
        assert given[f"{name}_again"] == expected or np.array_equal(np.float32(given[f"{name}_again"]), each.ravel())


@pytest.mark.parametrize("escaped", [False, True])
def test_a_large_array_in_base64_is_the_same_array(server: Server, escaped: bool) -> None:
    text = base64.b64encode(NUMBERS.tobytes()).decode()
    body = json.dumps({"data": text, "about": {"shape": list(NUMBERS.shape), "dtype": "float32"}})
    answer = post(server, "/predict/doubler", body.replace("/", "\\/") if escaped else body).json()
    assert answer["results"]["y"] == (NUMBERS * 2).tolist()
    broken = text[:1000] + "=" + text[1001:]
    answer = post(server, "/predict/doubler", body.replace(text, broken)).json()
    assert "not valid base64" in answer["msg"]


@pytest.mark.parametrize("name", ["echo", "merging"])
def test_large_arguments_reach_the_method(server: Server, name: str) -> None:
    value = NUMBERS[0, :50_000].tolist()
    results = server.results(name, value=value)
    assert results["value"] == value
    assert results.get("other") == (1 if name == "merging" else None)
    for wrong, status, words in ((b"[1]", 400, "a list"), (b'{"value":[1', 400, "not valid JSON"), (b"null", 200, "out of date")):
        answer = post(server, f"/predict/{name}", b" " * 5_000_000 + wrong)
        assert answer.status_code == status
        assert words in answer.json()["msg"]


def loop_s(server: Server) -> float:
    """Return the processor time that the server's event loop has taken, which does not depend on what else the machine does."""
    (main,) = [each for each in psutil.Process(server.process.pid).threads() if each.id == server.process.pid]
    return main.user_time + main.system_time


def test_no_large_document_holds_up_other_clients(server: Server) -> None:
    values = b",".join([b"1.5"] * 4_000_000)
    tensor = b'{"inputs":[{"name":"a","datatype":"FP32","shape":[1,4000000],"data":[%s]}]}' % values
    bomb = gzip.compress(b'{"inputs":[' + b"[]," * 8_000_000 + b"{}]}", 9)
    for send in (
        lambda: post(server, "/v2/models/floats/infer", tensor),
        lambda: post(server, "/predict/echo", b'{"value":1,"how":"nan","more":[%s]}' % values),
        lambda: post(server, "/v2/models/floats/infer", bomb, **{"Content-Encoding": "gzip"}),
    ):
        before = loop_s(server)
        send()
        assert loop_s(server) - before < 1.0, "on the event loop, each takes more than that"


def test_a_process_that_decodes_may_be_killed(server: Server) -> None:
    def decoders() -> list[psutil.Process]:
        return [each for each in psutil.Process(server.process.pid).children() if "decoder_process" in " ".join(each.cmdline())]

    value = NUMBERS[0, :20_000].tolist()
    assert server.results("echo", value=value)["value"] == value
    assert decoders()
    for each in decoders():
        each.kill()
    assert server.results("echo", value=value)["value"] == value


def test_a_method_whose_result_is_a_generator_is_refused_when_it_is_installed(tmp_path: Path, home: Path) -> None:
    source = "from hubserve.module import moduleinfo, serving\n@moduleinfo(name='lazy', version='1.0.0')\nclass Lazy:\n    @serving\n"
    folder = tmp_path / "lazy"
    folder.mkdir()
    (folder / "module.py").write_text(source + "    def answer(self):\n        yield 1\n", "utf-8")
    done = hub("install", folder, home=home)
    assert done.returncode == 1
    assert "Lazy.answer is a generator" in done.stdout + done.stderr
