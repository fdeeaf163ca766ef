"""The Open Inference Protocol over HTTP, as unmodified Triton clients see it."""

import asyncio
import gzip
import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException, shared_memory

from hubserve.protocols.open_inference.core.datatypes import DTYPE_OF, raw_from_array
from tests.conftest import Server, servers, toy, wait_for
from tests.v2 import DATATYPES, binary_request, modules, served_under, texts


@pytest.fixture(scope="module")
def server(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers(shared_home, tmp_path_factory.mktemp("v2")) as start:
        folder = tmp_path_factory.mktemp("modules")
        served = modules(folder) | {"faulty": toy("faulty"), "slow": served_under("doubler", "slow", folder, delay_s=1.0)}
        served |= {name: toy(f"triton/{name}") for name in ("pb_sum", "pb_repeat")}
        yield start(served, max_body_bytes=4 << 20, shared_memory=True)


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
        yield client


def tensor(name: str, array: np.ndarray, datatype: str, binary: bool = True) -> triton.InferInput:
    sent = triton.InferInput(name, list(array.shape), datatype)
    sent.set_data_from_numpy(array, binary_data=binary)
    return sent


def test_the_server_says_that_it_lives_is_ready_and_what_it_is(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    metadata = client.get_server_metadata()
    assert metadata["name"] == "triton"
    assert {"binary_tensor_data", "classification", "statistics"} <= set(metadata["extensions"])


def test_models_say_what_they_take_and_give(client: triton.InferenceServerClient) -> None:
    assert client.is_model_ready("doubler")
    assert client.is_model_ready("doubler", "1.0.0")
    assert not client.is_model_ready("doubler", "7")
    assert not client.is_model_ready("nobody")
    metadata = client.get_model_metadata("doubler")
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, -1]}]
    assert metadata["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [-1, -1]}]
    config = client.get_model_config("doubler")
    assert (config["max_batch_size"], config["input"][0]["dims"], config["input"][0]["data_type"]) == (16, [-1], "TYPE_FP32")
    assert client.get_model_metadata("shout")["inputs"] == [{"name": "arguments", "datatype": "BYTES", "shape": [1]}]


def test_what_comes_behind_a_head_that_came_before_is_answered_for_itself(server: Server) -> None:
    _, headers = binary_request([("x", "FP32", np.zeros((1, 2), np.float32))])

    def ask(model: str, *values: float) -> Any:
        body, _ = binary_request([("x", "FP32", np.zeros((1, 2), np.float32))])
        body = body[: int(headers["Inference-Header-Content-Length"])] + np.array(values, np.float32).tobytes()
        answer = session.post(f"{server.url}/v2/models/{model}/infer", body, headers=headers).json()
        return answer["outputs"][0]["data"] if "outputs" in answer else answer["error"]

    with requests.Session() as session:
        for first in range(5):
            assert ask("doubler", first, -1) == [2 * first, -2]
            assert "from 0 to the 4 bytes that are left" in ask("doubler", first)
            assert "goes on for 4 bytes behind its inputs" in ask("doubler", first, 2, 3)
            assert "unexpected inference input 'x'" in ask("FP32", first, -1)
            assert ask("slow" if first == 2 else "doubler", first, -1) == [2 * first, -2]


def test_each_of_many_different_requests_is_given_back_its_own_id(server: Server) -> None:
    with requests.Session() as session:
        for number in [*range(300), *range(300)]:
            body, headers = binary_request([("x", "FP32", np.full((1, 2), number, np.float32))], id=f"{number}")
            answer = session.post(f"{server.url}/v2/models/doubler/infer", body, headers=headers).json()
            assert (answer["id"], answer["outputs"][0]["data"]) == (f"{number}", [2 * number] * 2)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("binary_answer", [True, False])
@pytest.mark.parametrize("coding", [None, "gzip", "deflate"])
def test_tensors_are_computed_in_every_form(
    client: triton.InferenceServerClient, binary: bool, binary_answer: bool, coding: str | None
) -> None:
    x = np.arange(600, dtype=np.float32).reshape(3, 200)
    answer = client.infer(
        "doubler",
        [tensor("x", x, "FP32", binary)],
        outputs=[triton.InferRequestedOutput("y", binary_data=binary_answer)],
        request_id="seven",
        request_compression_algorithm=coding,
        response_compression_algorithm=coding,
    )
    assert np.array_equal(answer.as_numpy("y"), x * 2)
    assert answer.get_response()["id"] == "seven"


def sample(datatype: str) -> np.ndarray:
    """Shape [2, 2]."""
    if datatype == "BYTES":
        return texts(b"", "grüß dich".encode(), b"c", b"d" * 300).reshape(2, 2)
    if datatype == "BF16":
        return (np.array([[1.5, -2.0], [0.25, np.inf]], np.float32).view(np.uint32) >> 16).astype(np.uint16)
    if datatype == "BOOL":
        return np.array([[True, False], [False, True]])
    return np.array([[0, 1], [7, 127]], DTYPE_OF[datatype])


def post(server: Server, path: str, body: Any, headers: dict[str, str] | None = None) -> requests.Response:
    data = body if isinstance(body, bytes) else json.dumps(body)
    return requests.post(f"{server.url}/v2/{path}", data=data, headers=headers, timeout=60)


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_datatype_goes_in_and_out_in_binary_in_the_order_of_the_configuration(server: Server, datatype: str) -> None:
    array = sample(datatype)
    parameters = {"binary_data_output": True}
    body, headers = binary_request([("a", datatype, array), ("b", datatype, array[::-1])], parameters=parameters)
    answer = post(server, f"models/{datatype}/infer", body, headers)
    assert answer.status_code == 200, answer.text
    length = int(answer.headers["Inference-Header-Content-Length"])
    outputs = json.loads(answer.content[:length])["outputs"]
    assert [each["name"] for each in outputs] == ["b_again", "a_again"], "the configuration's order"
    assert {each["datatype"] for each in outputs} == {datatype}
    raw = bytes(raw_from_array(array[::-1])) + bytes(raw_from_array(array))
    assert answer.content[length:] == raw
    assert sum(each["parameters"]["binary_data_size"] for each in outputs) == len(raw)


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_datatype_goes_in_and_out_as_json(server: Server, datatype: str) -> None:
    values: Any = {"BYTES": ["", "grüß", "c", "d"], "BOOL": [True, False, False, True]}.get(datatype, [0, 1, 7, 127])
    about = {"datatype": datatype, "shape": [2, 2]}
    inputs = [{"name": "a", **about, "data": values}, {"name": "b", **about, "data": [values[:2], values[2:]]}]
    answer = post(server, f"models/{datatype}/infer", {"inputs": inputs, "outputs": [{"name": "a_again"}, {"name": "a_again"}]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"] == [{"name": "a_again", **about, "data": values}], "an output that is asked for twice comes once"


@pytest.mark.parametrize("datatype", [each for each in DATATYPES if each != "BF16"])
def test_triton_s_client_sees_its_own_tensors_again(client: triton.InferenceServerClient, datatype: str) -> None:
    array = sample(datatype)
    for binary in (True, False):
        if binary or datatype != "FP16":
            answer = client.infer(datatype, [tensor("a", array, datatype, binary), tensor("b", array, datatype, binary)])
            assert np.array_equal(answer.as_numpy("a_again"), array)


def test_a_module_that_answers_json_takes_and_gives_one_element_of_json(client: triton.InferenceServerClient) -> None:
    def ask(text: bytes) -> Any:
        answer = client.infer("shout", [tensor("arguments", texts(text), "BYTES")])
        assert answer.get_response()["outputs"][0]["shape"] == [1]
        return json.loads(answer.as_numpy("results")[0])

    assert ask('{"text": "grüß"}'.encode()) == "GRÜSS!"
    assert ask(b"{}") == "BY DEFAULT!"


def test_pictures_are_sent_as_bytes(client: triton.InferenceServerClient, cat_photo: Path) -> None:
    picture = cat_photo.read_bytes()
    means = client.infer("doubler", [tensor("x", texts(picture, picture), "BYTES")]).as_numpy("y")
    assert means.shape == (2, 3)
    assert np.array_equal(means[0], means[1])
    answer = client.infer("sizes", [tensor("pictures", texts(picture), "BYTES")])
    assert json.loads(answer.as_numpy("results")[0]) == ["451 x 300 px"]


def test_classes_come_best_first_with_their_labels_and_ties_by_index(client: triton.InferenceServerClient) -> None:
    array = np.array([[1, 2], [3, 3]], np.int32)
    for binary in (True, False):
        asked = [triton.InferRequestedOutput("b_again", binary_data=binary, class_count=5)]
        answer = client.infer("INT32", [tensor("a", array, "INT32"), tensor("b", array, "INT32")], outputs=asked)
        classes = answer.as_numpy("b_again")
        found = [[each.decode() if isinstance(each, bytes) else each for each in row] for row in classes]
        assert found == [["2.000000:1:right", "1.000000:0:left"], ["3.000000:0:left", "3.000000:1:right"]]


def test_an_output_of_bytes_has_no_classes(client: triton.InferenceServerClient) -> None:
    array = sample("BYTES")
    with pytest.raises(InferenceServerException, match="class result not available"):
        client.infer(
            "BYTES",
            [tensor("a", array, "BYTES"), tensor("b", array, "BYTES")],
            outputs=[triton.InferRequestedOutput("a_again", class_count=1)],
        )


def test_shared_memory_carries_inputs_and_outputs(client: triton.InferenceServerClient) -> None:
    x = np.arange(12, dtype=np.float32).reshape(2, 6)
    key = f"/hubserve-{secrets.token_hex(6)}"
    handle = shared_memory.create_shared_memory_region("both", key, 2 * x.nbytes)
    try:
        shared_memory.set_shared_memory_region(handle, [x])
        client.register_system_shared_memory("both", key, 2 * x.nbytes)
        assert client.get_system_shared_memory_status("both")[0]["byte_size"] == 2 * x.nbytes
        sent = triton.InferInput("x", list(x.shape), "FP32")
        sent.set_shared_memory("both", x.nbytes)
        asked = triton.InferRequestedOutput("y")
        asked.set_shared_memory("both", x.nbytes, offset=x.nbytes)
        answer = client.infer("doubler", [sent], outputs=[asked])
        assert answer.get_output("y") == {"name": "y", "datatype": "FP32", "shape": [2, 6]}, "perf_analyzer fails on parameters here"
        assert np.array_equal(shared_memory.get_contents_as_numpy(handle, np.float32, [2, 6], offset=x.nbytes), x * 2)
        asked.set_shared_memory("both", 4)
        with pytest.raises(InferenceServerException, match="only 4"):
            client.infer("doubler", [sent], outputs=[asked])
        client.unregister_system_shared_memory("both")
        with pytest.raises(InferenceServerException, match="Unable to find shared memory region"):
            client.infer("doubler", [sent])
        client.unregister_system_shared_memory()
        assert client.get_system_shared_memory_status() == []
    finally:
        shared_memory.destroy_shared_memory_region(handle)


def test_memory_of_gpus_is_refused_by_name(client: triton.InferenceServerClient) -> None:
    assert client.get_cuda_shared_memory_status() == []
    client.unregister_cuda_shared_memory()
    with pytest.raises(InferenceServerException, match="CUDA shared memory"):
        client.register_cuda_shared_memory("x", b"abcd", 0, 64)


def test_statistics_count_what_was_done(client: triton.InferenceServerClient) -> None:
    def counted() -> tuple[int, int, int]:
        found = client.get_inference_statistics("INT8", "1.0.0")["model_stats"][0]
        return found["inference_count"], found["inference_stats"]["success"]["count"], found["inference_stats"]["fail"]["count"]

    before = counted()
    array = sample("INT8")
    for _ in range(3):
        client.infer("INT8", [tensor("a", array, "INT8"), tensor("b", array, "INT8")])
    assert [now - then for now, then in zip(counted(), before, strict=True)] == [6, 3, 0]
    assert {each["name"] for each in client.get_inference_statistics()["model_stats"]} >= {"INT8", "shout"}


def test_a_timeout_in_microseconds_ends_a_request(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="did not come in time") as caught:
        client.infer("slow", [tensor("x", np.ones((1, 1), np.float32), "FP32")], timeout=20_000)
    assert caught.value.status() == "504"


def test_parameters_priorities_and_sequences_are_taken(client: triton.InferenceServerClient) -> None:
    sent = [tensor("x", np.ones((1, 1), np.float32), "FP32")]
    answer = client.infer(
        "doubler", sent, priority=2, sequence_id=7, sequence_start=True, sequence_end=True, parameters={"mine": 1, "yours": "x"}
    )
    assert answer.as_numpy("y") == 2


def test_requests_are_sent_in_the_background(client: triton.InferenceServerClient) -> None:
    waiting = [client.async_infer("doubler", [tensor("x", np.full((1, 1), n, np.float32), "FP32")]) for n in range(5)]
    assert [each.get_result().as_numpy("y").item() for each in waiting] == [0, 2, 4, 6, 8]


def test_bodies_can_be_made_and_read_apart_from_a_client(server: Server) -> None:
    body, length = triton.InferenceServerClient.generate_request_body([tensor("x", np.ones((1, 2), np.float32), "FP32")])
    answer = post(server, "models/doubler/infer", bytes(body), {"Inference-Header-Content-Length": str(length)})
    header_length = int(answer.headers["Inference-Header-Content-Length"])
    result = triton.InferenceServerClient.parse_response_body(answer.content, header_length=header_length)
    assert result.as_numpy("y").tolist() == [[2, 2]]


def test_the_asyncio_client_has_the_same_answers(server: Server) -> None:
    async def ask() -> None:
        x = np.ones((2, 3), np.float32)
        async with triton_aio.InferenceServerClient(server.url.removeprefix("http://")) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("doubler")
            assert (await client.get_server_metadata())["name"] == "triton"
            assert (await client.get_model_metadata("doubler"))["platform"] == "paddlehub"
            assert (await client.get_model_config("doubler"))["name"] == "doubler"
            assert (await client.get_inference_statistics("doubler"))["model_stats"][0]["version"] == "1.0.0"
            assert await client.get_system_shared_memory_status() == []
            assert await client.get_cuda_shared_memory_status() == []
            assert {"name": "shout", "version": "1.0.0", "state": "READY", "reason": ""} in await client.get_model_repository_index()
            for call in (client.load_model, client.unload_model):
                with pytest.raises(InferenceServerException, match="explicit model load / unload is not allowed"):
                    await call("doubler")
            before = await client.get_trace_settings("doubler")
            assert (await client.update_trace_settings("doubler", {"trace_rate": "7"}))["trace_rate"] == "7"
            assert (await client.update_trace_settings("doubler", {"trace_rate": None})) == before
            assert (await client.update_log_settings(await client.get_log_settings())) == await client.get_log_settings()
            sent = triton_aio.InferInput("x", [2, 3], "FP32")
            sent.set_data_from_numpy(x)
            for coding in (None, "gzip", "deflate"):
                answer = await client.infer(
                    "doubler", [sent], request_id="1", request_compression_algorithm=coding, response_compression_algorithm=coding
                )
                assert np.array_equal(answer.as_numpy("y"), x * 2)
            answers = await asyncio.gather(*(client.infer("doubler", [sent]) for _ in range(10)))
            assert all(np.array_equal(each.as_numpy("y"), x * 2) for each in answers)
            with pytest.raises(InferenceServerException, match="'nobody' is not found"):
                await client.infer("nobody", [sent])

    asyncio.run(ask())


def test_a_body_without_a_header_is_the_one_input(server: Server) -> None:
    headers = {"Inference-Header-Content-Length": "0", "Content-Type": "application/octet-stream"}
    answer = post(server, "models/doubler/infer", np.arange(4, dtype=np.float32).tobytes(), headers)
    length = int(answer.headers["Inference-Header-Content-Length"])
    assert json.loads(answer.content[:length])["outputs"][0]["shape"] == [1, 4]
    assert np.frombuffer(answer.content[length:], np.float32).tolist() == [0, 2, 4, 6]
    answer = post(server, "models/shout/infer", b'{"text": "raw"}', headers)
    assert answer.content.endswith(b'"RAW!"')
    assert post(server, "models/INT32/infer", b"1234", headers).status_code == 400


def test_generate_takes_and_gives_flat_json(server: Server) -> None:
    answer = post(server, "models/doubler/generate", {"x": [1, 2.5], "id": "9", "temperature": 0.5, "parameters": {"more": True}})
    assert answer.json() == {"model_name": "doubler", "model_version": "1.0.0", "id": "9", "y": [2.0, 5.0]}
    answer = post(server, "models/shout/versions/1.0.0/generate", {"arguments": {"text": "a"}})
    assert answer.json() == {"model_name": "shout", "model_version": "1.0.0", "results": '"A!"'}
    answer = post(server, "models/shout/generate_stream", {"arguments": '{"text": "b"}'})
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.text == 'data: {"model_name":"shout","model_version":"1.0.0","results":"\\"B!\\""}\n\n'
    assert post(server, "models/doubler/generate", {"y": {}}).status_code == 400
    for path in ("generate", "generate_stream"):
        answer = post(server, f"models/doubler/{path}", {"x": 1, "id": "\ud800"})
        assert (answer.status_code, "half a character" in answer.json()["error"]) == (400, True)


def test_nan_and_infinity_come_and_go_as_tokens(server: Server) -> None:
    body = b'{"inputs": [{"name": "a", "datatype": "FP64", "shape": [1, 2], "data": [NaN, -Infinity]}, '
    body += b'{"name": "b", "datatype": "FP64", "shape": [1, 2], "data": [1, 1e400]}]}'
    answer = post(server, "models/FP64/infer", body.replace(b"1e400", b"Infinity"))
    data = {each["name"]: each["data"] for each in json.loads(answer.content)["outputs"]}
    assert np.array_equal(data["a_again"], [np.nan, -np.inf], equal_nan=True)
    assert data["b_again"] == [1, np.inf]


def test_bytes_that_are_no_text_do_not_break_a_json_answer(server: Server) -> None:
    array = texts(b"\xff\xfe", b"ok").reshape(1, 2)
    body, headers = binary_request([("a", "BYTES", array), ("b", "BYTES", array)])
    answer = post(server, "models/BYTES/infer", body, headers)
    assert answer.json()["outputs"][0]["data"] == ["\ufffd\ufffd", "ok"]


def test_what_unpacks_to_too_much_is_refused(server: Server) -> None:
    bomb = gzip.compress(b" " * (64 << 20))
    answer = post(server, "models/doubler/infer", bomb, {"Content-Encoding": "gzip"})
    assert answer.status_code == 413
    assert "max_body_bytes" in answer.json()["error"]


def test_a_module_that_fails_is_told_with_its_own_text(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="all is lost") as caught:
        client.infer("faulty", [tensor("arguments", texts(b'{"how": "raise", "text": "all is lost"}'), "BYTES")])
    assert caught.value.status() == "500"


def test_the_server_s_settings_and_its_models_are_read_and_changed(client: triton.InferenceServerClient) -> None:
    assert {"doubler", "pb_sum"} <= {each["name"] for each in client.get_model_repository_index()}
    for call in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="explicit model load / unload is not allowed") as caught:
            call("doubler")
        assert caught.value.status() == "503"
    before = client.get_trace_settings()
    assert client.update_trace_settings(settings={"trace_rate": 5})["trace_rate"] == "5"
    assert client.get_trace_settings("doubler")["trace_rate"] == "5"
    assert client.update_trace_settings(settings={"trace_rate": None}) == before
    with pytest.raises(InferenceServerException, match="trace setting"):
        client.update_trace_settings(settings={"nothing": 1})
    with pytest.raises(InferenceServerException, match="'nobody' is not found"):
        client.get_trace_settings("nobody")
    settings = client.get_log_settings()
    assert client.update_log_settings({"log_verbose_level": 1})["log_verbose_level"] == 1
    assert client.update_log_settings(settings) == settings


def test_a_decoupled_model_answers_by_events_and_not_to_a_plain_request(server: Server) -> None:
    def events(**question: Any) -> list[dict[str, Any]]:
        answer = post(server, "models/pb_repeat/generate_stream", question)
        assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        return [json.loads(each.removeprefix("data: ")) for each in answer.text.split("\n\n") if each]

    about = {"model_name": "pb_repeat", "model_version": "1"}
    assert events(COUNT=3, how="thread", id="a") == [{**about, "id": "a", "OUT": number} for number in range(3)]
    assert events(COUNT=2, how="final") == [{**about, "OUT": number} for number in range(2)]
    assert events(COUNT=0) == []
    assert [each.get("OUT", each.get("error")) for each in events(COUNT=5, how="error")] == [0, 1, "two is too many"]
    assert post(server, "models/pb_repeat/generate", {"COUNT": 1}).json() == {**about, "OUT": 0}
    answer = post(server, "models/pb_repeat/generate", {"COUNT": 2})
    assert (answer.status_code, "exactly 1 response" in answer.text) == (400, True)
    inputs = [{"name": "COUNT", "datatype": "INT32", "shape": [1], "data": [1]}]
    answer = post(server, "models/pb_repeat/infer", {"inputs": inputs})
    assert answer.status_code == 501
    assert "doesn't support models with decoupled transaction policy" in answer.json()["error"]


def test_a_reader_of_events_who_leaves_ends_the_computing(server: Server, tmp_path: Path) -> None:
    told = tmp_path / "told"
    question = {"COUNT": 100_000, "how": "slow", "tell": str(told)}
    with requests.post(server.url + "/v2/models/pb_repeat/generate_stream", json=question, stream=True, timeout=60) as answer:
        assert next(answer.iter_lines()).startswith(b"data: ")
    assert wait_for(told.exists)
    assert wait_for(told.read_text).startswith("cancelled after")
