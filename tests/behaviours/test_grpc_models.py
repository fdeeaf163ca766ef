"""Decoupled models, model control, traces and logs over gRPC, as unmodified Triton clients see them."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

from tests.behaviours.grpc_clients import SERVICE, Answers, final, raw_call, start_with_grpc, tensor
from tests.conftest import Start, servers, wait_for
from tests.triton_models import write_scale

CONFIG = {
    "backend": "onnxruntime",
    "max_batch_size": "3",
    "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [4]}],
    "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": [4]}],
}


@pytest.fixture(scope="module")
def address(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with servers(shared_home, tmp_path_factory.mktemp("grpc_models")) as start:
        yield start_with_grpc(start, "triton/pb_repeat", "triton/pb_sum")[1]


def count(number: int) -> list[triton.InferInput]:
    return [tensor("COUNT", np.array([number], np.int32), "INT32")]


def streamed(address: str, number: int, expected: int, empty_final: bool = False, **parameters: Any) -> list[Any]:
    answers = Answers()
    with triton.InferenceServerClient(address) as client:
        client.start_stream(answers)
        client.async_stream_infer(
            "pb_repeat", count(number), request_id="7", enable_empty_final_response=empty_final, parameters=parameters or None
        )
        return [answers.next() for _ in range(expected)]


def numbers(results: list[Any]) -> list[int]:
    return [int(each.as_numpy("OUT")[0]) for each in results]


def test_a_decoupled_model_answers_as_often_as_it_likes(address: str) -> None:
    results = streamed(address, 50, 50)
    assert numbers(results) == list(range(50))
    assert {each.get_response().id for each in results} == {"7"}
    assert not any(final(each) for each in results)


def test_the_last_answer_says_so_if_the_model_does_or_an_empty_one_was_asked_for(address: str) -> None:
    assert [final(each) for each in streamed(address, 2, 2, how="final")] == [False, True]
    results = streamed(address, 2, 3, empty_final=True)
    assert [final(each) for each in results] == [False, False, True]
    assert (len(results[2].get_response().outputs), results[2].get_response().id) == (0, "7")
    assert results[2].get_response().model_version == "1"
    assert [final(each) for each in streamed(address, 2, 2, empty_final=True, how="final")] == [False, True]
    (nothing,) = streamed(address, 0, 1, empty_final=True)
    assert final(nothing)


def test_an_error_in_the_middle_comes_behind_what_was_answered(address: str) -> None:
    *results, error = streamed(address, 5, 3, how="error")
    assert numbers(results) == [0, 1]
    assert "two is too many" in error.message()


def test_answers_of_decoupled_models_do_not_wait_for_each_other(address: str) -> None:
    answers = Answers()
    with triton.InferenceServerClient(address) as client:
        client.start_stream(answers)
        client.async_stream_infer("pb_repeat", count(100), request_id="slow", parameters={"how": "thread"})
        client.async_stream_infer("pb_repeat", count(1), request_id="quick")
        ids = [answers.next().get_response().id for _ in range(101)]
    assert ids.count("slow") == 100
    assert ids.index("quick") < 100


def test_an_asyncio_client_reads_a_decoupled_model_s_answers(address: str) -> None:
    async def read() -> list[int]:
        async def ask() -> AsyncIterator[dict[str, Any]]:
            yield {"model_name": "pb_repeat", "inputs": count(5)}

        async with tritonclient.grpc.aio.InferenceServerClient(address) as client:
            return [int(result.as_numpy("OUT")[0]) async for result, _ in client.stream_infer(ask())]

    assert asyncio.run(read()) == [0, 1, 2, 3, 4]


def test_a_client_that_leaves_its_stream_ends_the_computing(address: str, tmp_path: Path) -> None:
    told, answers = tmp_path / "told", Answers()
    with triton.InferenceServerClient(address) as client:
        client.start_stream(answers)
        client.async_stream_infer("pb_repeat", count(100_000), parameters={"how": "slow", "tell": str(told)})
        assert numbers([answers.next()]) == [0]
        client.stop_stream(cancel_requests=True)
    assert wait_for(told.exists)
    assert wait_for(told.read_text).startswith("cancelled after")


def test_a_client_that_does_not_read_is_waited_for_by_the_model_and_then_cut_off(start: Start, tmp_path: Path) -> None:
    """What it does not take is not kept in memory."""
    progress, told = tmp_path / "progress", tmp_path / "told"
    _, address = start_with_grpc(start, "triton/pb_repeat", client_timeout_s=2)
    request = service_pb2.ModelInferRequest(model_name="pb_repeat")
    for name, value in {"COUNT": 2000, "SIZE": 1 << 18}.items():
        request.inputs.add(name=name, datatype="INT32", shape=[1]).contents.int_contents.append(value)
    request.parameters["progress"].string_param = str(progress)
    request.parameters["tell"].string_param = str(told)
    with grpc.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)]) as channel:
        call = channel.stream_stream(SERVICE + "ModelStreamInfer")(iter([request.SerializeToString()]))
        next(call)
        wait_for(told.exists)
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert int(progress.read_text()) < 2000


def test_a_decoupled_model_is_not_asked_by_a_plain_call(address: str) -> None:
    with triton.InferenceServerClient(address) as client, pytest.raises(InferenceServerException) as caught:
        client.infer("pb_repeat", count(1))
    assert caught.value.status() == "StatusCode.UNIMPLEMENTED"
    assert "ModelStreamInfer" in caught.value.message()


# --- model control, traces and logs ---


def test_models_are_listed_loaded_configured_and_unloaded(start: Start, tmp_path: Path) -> None:
    store = tmp_path / "store"
    write_scale(store, "scale")
    _, address = start_with_grpc(start, "doubler", model_store=[str(store)], model_control="explicit")
    with triton.InferenceServerClient(address) as client:
        assert not client.is_model_ready("scale")
        client.load_model("scale")
        assert client.is_model_ready("scale")
        states = {each.name: each.state for each in client.get_model_repository_index().models}
        assert (states["scale"], states["doubler"]) == ("READY", "READY")
        client.load_model("scale", config=json.dumps(CONFIG))
        assert client.get_model_config("scale").config.max_batch_size == 3
        client.unload_model("scale")
        wait_for(lambda: not client.is_model_ready("scale"))
        with pytest.raises(InferenceServerException, match="failed to load 'nobody'"):
            client.load_model("nobody")


def test_an_asyncio_client_controls_models_traces_and_logs(start: Start, tmp_path: Path) -> None:
    store = tmp_path / "store"
    write_scale(store, "scale")
    _, address = start_with_grpc(start, "doubler", model_store=[str(store)], model_control="explicit")

    async def control() -> None:
        async with tritonclient.grpc.aio.InferenceServerClient(address) as client:
            await client.load_model("scale")
            assert "scale" in {each.name for each in (await client.get_model_repository_index()).models}
            await client.unload_model("scale")
            assert "trace_level" in (await client.get_trace_settings()).settings
            await client.update_trace_settings(settings={"trace_rate": "5"})
            assert (await client.get_log_settings()).settings["log_info"].bool_param
            await client.update_log_settings({"log_verbose_level": 1})

    asyncio.run(control())


def test_without_model_control_models_are_listed_and_not_loaded(address: str) -> None:
    with triton.InferenceServerClient(address) as client:
        assert {each.name for each in client.get_model_repository_index().models} == {"pb_repeat", "pb_sum"}
        for call in (client.load_model, client.unload_model):
            with pytest.raises(InferenceServerException) as caught:
                call("pb_sum")
            assert caught.value.status() == "StatusCode.UNAVAILABLE"


def test_log_settings_are_read_and_changed(address: str) -> None:
    with triton.InferenceServerClient(address) as client:
        settings = client.get_log_settings().settings
        assert settings["log_info"].bool_param
        assert client.update_log_settings({"log_verbose_level": 1}).settings["log_verbose_level"].uint32_param == 1
        assert client.update_log_settings({"log_verbose_level": 0}).settings["log_verbose_level"].uint32_param == 0
        with pytest.raises(InferenceServerException) as caught:
            client.update_log_settings({"log_loudness": 1})
        assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_trace_settings_are_read_changed_and_cleared(address: str) -> None:
    with triton.InferenceServerClient(address) as client:
        before = client.get_trace_settings().settings
        changed = client.update_trace_settings(model_name="pb_sum", settings={"trace_rate": "7"}).settings
        assert list(changed["trace_rate"].value) == ["7"]
        assert client.get_trace_settings("pb_sum").settings["trace_rate"].value[0] == "7"
        cleared = client.update_trace_settings(model_name="pb_sum", settings={"trace_rate": None}).settings
        assert cleared["trace_rate"] == before["trace_rate"]
        with pytest.raises(InferenceServerException) as caught:
            client.update_trace_settings(settings={"trace_colour": "red"})
        assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_a_server_has_one_repository_without_a_name(address: str) -> None:
    request = service_pb2.RepositoryIndexRequest(repository_name="other")
    code, text = raw_call(address, "RepositoryIndex", request.SerializeToString())
    assert (code.name, "repository 'other'" in text) == ("INVALID_ARGUMENT", True)
