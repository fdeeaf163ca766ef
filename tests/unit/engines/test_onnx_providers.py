"""Providers of ONNX Runtime: their options, and the refusal to go on without one that was asked for."""

from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from hubserve.engines import EngineOptions, ModelFiles, load_engine
from hubserve.engines.gpus import has_gpu
from hubserve.engines.onnx_providers import CPU, CUDA, TENSORRT, providers_of
from hubserve.engines.selection import choose
from hubserve.engines.tuning import CUDA_OPTIONS, TENSORRT_OPTIONS, read_tuning
from hubserve.errors import ConfigError, LoadFailed
from tests.triton_models import scale

pytestmark = pytest.mark.usefixtures("home")

FOR_CPUS = CUDA not in onnxruntime.get_available_providers()


def options(parameters: dict[str, str], **given: Any) -> EngineOptions:
    return EngineOptions(use_gpu=True, tuning=read_tuning("onnxruntime", parameters, "", use_gpu=True).settings, **given)


def test_the_cpu_alone_computes_unless_a_gpu_is_asked_for() -> None:
    assert providers_of(EngineOptions()) == [(CPU, {})]


def test_cuda_comes_before_the_cpu_with_the_options_that_triton_documents() -> None:
    given = {
        "cudnn_conv_algo_search": "1",
        "gpu_mem_limit": "18446744073709551614",
        "arena_extend_strategy": "1",
        "do_copy_in_default_stream": "true",
        "cudnn_conv_use_max_workspace": "0",
        "intra_op_thread_count": "2",
        "session.x": "y",
    }
    (first, cuda), *rest = providers_of(options(given))
    assert (first, rest) == (CUDA, [(CPU, {})])
    assert cuda == {
        "device_id": "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "gpu_mem_limit": "18446744073709551614",
        "arena_extend_strategy": "kSameAsRequested",
        "do_copy_in_default_stream": "1",
        "cudnn_conv_use_max_workspace": "0",
    }


def test_tensorrt_comes_before_cuda_and_keeps_its_engines_in_the_home(home: Path) -> None:
    given = {"trt_engine_cache_enable": "1", "trt_max_workspace_size": "1073741824"}
    found = providers_of(options(given, use_tensorrt=True, use_fp16=True))
    assert [name for name, _ in found] == [TENSORRT, CUDA, CPU]
    assert found[0][1] == {
        "device_id": "0",
        "trt_engine_cache_enable": "1",
        "trt_max_workspace_size": "1073741824",
        "trt_fp16_enable": "1",
        "trt_engine_cache_path": str(home / "cache" / "tensorrt"),
    }
    mine = providers_of(options({**given, "trt_engine_cache_path": "/srv/engines"}, use_tensorrt=True))
    assert mine[0][1]["trt_engine_cache_path"] == "/srv/engines"


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("cudnn_conv_algo_search", "3", r"one of 0 \(EXHAUSTIVE\), 1 \(HEURISTIC\), 2 \(DEFAULT\)"),
        ("arena_extend_strategy", "fast", r"one of 0 \(kNextPowerOfTwo\), 1"),
        ("gpu_mem_limit", "4GB", "a number of bytes"),
        ("trt_max_workspace_size", "abc", "a number of bytes"),
        ("do_copy_in_default_stream", "maybe", "0 or 1, true or false"),
    ],
)
def test_a_value_that_a_provider_cannot_use_is_reported(key: str, text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=f"parameter {key} must be {expected}"):
        read_tuning("onnxruntime", {key: text}, "", use_gpu=True)


def test_options_that_take_addresses_or_load_libraries_are_not_among_those_that_configurations_can_set() -> None:
    dangerous = ("user_compute_stream", "gpu_external_alloc", "trt_extra_plugin_lib_paths", "trt_engine_decryption_lib_path")
    assert not {*CUDA_OPTIONS, *TENSORRT_OPTIONS} & set(dangerous)


@pytest.mark.skipif(not FOR_CPUS, reason="the onnxruntime that is installed here is built for GPUs")
@pytest.mark.parametrize("engine", ["onnxruntime", "auto"])
@pytest.mark.parametrize("use_tensorrt", [False, True])
def test_a_build_for_cpus_is_refused_where_a_gpu_is_asked_for(tmp_path: Path, engine: str, use_tensorrt: bool) -> None:
    """The real ONNX Runtime would warn, and compute on the CPU."""
    with pytest.raises(LoadFailed, match=r"a GPU is asked for, and .*the onnxruntime [0-9.]+ that is installed here is built for CPUs"):
        load_engine(scale(tmp_path / "x.onnx"), engine, EngineOptions(use_gpu=True, use_tensorrt=use_tensorrt))


@pytest.mark.skipif(FOR_CPUS or has_gpu(), reason="needs an onnxruntime that is built for GPUs, on a machine without one")
@pytest.mark.parametrize("use_tensorrt", [False, True])
def test_a_build_for_gpus_without_their_libraries_says_which_is_missing(tmp_path: Path, use_tensorrt: bool) -> None:
    """The real ONNX Runtime would print it, and compute on the CPU."""
    with pytest.raises(LoadFailed, match=r"CUDA cannot start in ONNX Runtime [0-9.]+: lib\w+\.so[.0-9]*: cannot open shared object file"):
        load_engine(scale(tmp_path / "x.onnx"), "onnxruntime", EngineOptions(use_gpu=True, use_tensorrt=use_tensorrt))
    assert load_engine(scale(tmp_path / "x.onnx"), "onnxruntime").describe()["device"] == "cpu"


@pytest.mark.skipif(FOR_CPUS or has_gpu(), reason="needs an onnxruntime that is built for GPUs, on a machine without one")
def test_a_damaged_file_is_reported_as_such_even_if_a_gpu_is_asked_for(tmp_path: Path) -> None:
    path = scale(tmp_path / "x.onnx")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(LoadFailed) as caught:
        load_engine(path, "onnxruntime", EngineOptions(use_gpu=True))
    assert "GPU" not in str(caught.value)


def test_auto_on_a_gpu_means_an_engine_that_reads_the_file(tmp_path: Path) -> None:
    from hubserve.engines.model_files import find_model_files

    files = find_model_files(tmp_path, scale(tmp_path / "x.onnx").name)
    assert choose(files, EngineOptions(use_gpu=True))[:2] == ("onnxruntime", "auto: onnxruntime, because use_gpu is set")


def test_auto_on_a_gpu_does_not_mean_an_engine_for_cpus(tmp_path: Path) -> None:
    (tmp_path / "x.xml").write_text("<net/>")
    (tmp_path / "x.bin").write_bytes(b"")
    with pytest.raises(ConfigError, match="engine 'openvino' computes on the CPU, but use_gpu is set"):
        load_engine(ModelFiles(tmp_path / "x.xml", None), "auto", EngineOptions(use_gpu=True))
