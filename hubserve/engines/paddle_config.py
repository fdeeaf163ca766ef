"""The settings of ``paddle.inference.Config`` that an :class:`EngineOptions` asks for.

They are planned as plain data first, so that what would be done on a GPU can be read and checked on a machine without one.
Source: https://www.paddlepaddle.org.cn/inference/api_reference/python_api_doc/Config/Config_index.html
"""

import os
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

from hubserve.engines.base import EngineOptions, ModelFiles
from hubserve.engines.failures import reason
from hubserve.engines.paddle_program import Program
from hubserve.errors import LoadFailed
from hubserve.types import ANY, TensorSpec

_DEVICE = 0  # counted among the devices that CUDA_VISIBLE_DEVICES leaves visible
_TENSORRT_WORKSPACE_BYTES = 1 << 30
#: subgraphs of fewer operators are not worth the copies between Paddle and TensorRT
_TENSORRT_MIN_SUBGRAPH = 10
#: Shapes for which oneDNN keeps its prepared primitives: merged batches alternate between a few sizes. On one core, alternating
#: batches of 1 and 3 ran at 70 images/s with one shape kept and 87 with four or ten; memory for batches of 1 to 8 was 540 and 681 MB.
_MAX_ONEDNN_SHAPES = 10


class Precision(NamedTuple):
    """Placeholder of ``paddle.inference.PrecisionType.<name>`` until Paddle is imported."""

    name: str


class Call(NamedTuple):
    """One call of a method of ``paddle.inference.Config``."""

    method: str
    args: Tuple[Any, ...] = ()


def plan(files: ModelFiles, options: EngineOptions, program: Program) -> List[Call]:
    """Return the calls of the Config's methods, in order."""
    is_pir = files.graph.suffix == ".json"
    calls = [Call("disable_glog_info"), Call("switch_ir_optim", (options.ir_optim,))]
    # On a PIR program this pass can make create_predictor raise, depending on the other passes; its executor reuses memory anyway.
    calls.append(Call("enable_memory_optim", (options.enable_memory_optim and not is_pir,)))
    return calls + (_gpu(options, program) if options.use_gpu else _cpu(options))


def _cpu(options: EngineOptions) -> List[Call]:
    calls = [Call("disable_gpu"), Call("set_cpu_math_library_num_threads", (options.cpu_num_threads,))]
    if not options.enable_mkldnn:
        return [*calls, Call("disable_mkldnn")]  # said aloud: Paddle 3 has it on by default
    return [*calls, Call("enable_mkldnn"), Call("set_mkldnn_cache_capacity", (min(options.max_batch_size, _MAX_ONEDNN_SHAPES),))]


def _gpu(options: EngineOptions, program: Program) -> List[Call]:
    half, full = Precision("Half"), Precision("Float32")
    if not options.use_tensorrt:
        return [Call("enable_use_gpu", (options.gpu_mem, _DEVICE, half if options.use_fp16 else full))]
    calls = [
        Call("enable_use_gpu", (options.gpu_mem, _DEVICE, full)),
        Call(
            "enable_tensorrt_engine",
            (
                _TENSORRT_WORKSPACE_BYTES,
                options.max_batch_size,
                _TENSORRT_MIN_SUBGRAPH,
                half if options.use_fp16 else full,
                False,  # use_static: engines are not written beside the model
                False,  # use_calib_mode: no int8
            ),
        ),
    ]
    return calls + _tensorrt_shapes(program.inputs, options.max_batch_size)


def _tensorrt_shapes(inputs: Sequence[TensorSpec], max_batch_size: int) -> List[Call]:
    """Return the ranges of varying shapes, which TensorRT requires; only a varying batch has a known one."""
    if not inputs or any(not spec.shape or ANY in spec.shape[1:] for spec in inputs):
        return []
    smallest = {spec.name: _with_batch(spec.shape, 1) for spec in inputs}
    largest = {spec.name: _with_batch(spec.shape, max_batch_size) for spec in inputs}
    return [Call("set_trt_dynamic_shape_info", (smallest, largest, largest))]


def _with_batch(shape: Sequence[int], batch: int) -> List[int]:
    return [batch if shape[0] == ANY else shape[0], *shape[1:]]


def build_config(paddle: Any, files: ModelFiles, options: EngineOptions, program: Program) -> Any:
    """Make the ``paddle.inference.Config`` of a plan.

    Raises:
        LoadFailed: this build of Paddle refuses a setting (TensorRT, most often).
    """
    config = paddle.inference.Config(str(files.graph), str(files.weights or ""))
    for call in plan(files, options, program):
        args = [getattr(paddle.inference.PrecisionType, arg.name) if isinstance(arg, Precision) else arg for arg in call.args]
        try:
            getattr(config, call.method)(*args)
        except (RuntimeError, ValueError, NotImplementedError) as error:
            hint = "Set use_tensorrt to false, or install a Paddle with TensorRT." if "tensorrt" in call.method else "Change that setting."
            raise LoadFailed(f"this build of Paddle refuses '{call.method}': {reason(error)}. {hint}", detail=str(error)) from error
    return config


def check_gpu(paddle: Any) -> None:
    """Raise LoadFailed, saying what is missing and what to do, unless a GPU can be used."""
    with_cuda = bool(paddle.is_compiled_with_cuda())
    count = paddle.device.cuda.device_count() if with_cuda else 0
    problems = gpu_problems(with_cuda, os.environ.get("CUDA_VISIBLE_DEVICES"), count)
    if problems:
        raise LoadFailed(f"use_gpu is set, but {'; and '.join(problems)}. Or set use_gpu to false to compute on the CPU.")


def gpu_problems(with_cuda: bool, visible_devices: Optional[str], device_count: int) -> List[str]:
    """Yield the reasons why Paddle cannot use a GPU, each with its remedy.

    Args:
        with_cuda: whether this Paddle was built with CUDA.
        visible_devices: the value of CUDA_VISIBLE_DEVICES; None where it is not set.
        device_count: how many GPUs Paddle sees.
    """
    problems = []
    if not with_cuda:
        problems.append("this Paddle was built without CUDA (install paddlepaddle-gpu in its place)")
    if visible_devices is None:
        problems.append("CUDA_VISIBLE_DEVICES is not set (choose a GPU before the start, such as: export CUDA_VISIBLE_DEVICES=0)")
    elif with_cuda and device_count < 1:
        problems.append(f"no GPU is visible with CUDA_VISIBLE_DEVICES='{visible_devices}' (nvidia-smi lists the GPUs there are)")
    return problems
