"""ONNX Runtime's execution providers: which ones a model is given, with which options, and why one of them cannot start.

ONNX Runtime itself goes on without a provider that is not there, and computes on the CPU. Here that is an error.
Sources: https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html and TensorRT-ExecutionProvider.html
"""

import ctypes
import importlib.util
import io
import os
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

from hubserve.engines.base import EngineOptions
from hubserve.engines.failures import reason
from hubserve.engines.gpus import no_gpu
from hubserve.engines.tuning import CUDA_OPTIONS, TENSORRT_PREFIX
from hubserve.errors import LoadFailed
from hubserve.paths import home

CPU, CUDA, TENSORRT = "CPUExecutionProvider", "CUDAExecutionProvider", "TensorrtExecutionProvider"
_LIBRARIES = {CUDA: "libonnxruntime_providers_cuda.so", TENSORRT: "libonnxruntime_providers_tensorrt.so"}
_FOR_PEOPLE = {CUDA: "CUDA", TENSORRT: "TensorRT"}
_OTHER_BUILD = (
    "Replace it (pip uninstall onnxruntime; pip install 'onnxruntime-gpu[cuda,cudnn]'), or run the model in the environment profile "
    "onnxruntime-gpu."
)
_INSTALL = {
    CUDA: "Install them with: pip install 'onnxruntime-gpu[cuda,cudnn]' (an NVIDIA driver for that CUDA is needed, too).",
    TENSORRT: "Install it with: pip install tensorrt (of the version that this ONNX Runtime was built for), or leave TensorRT out.",
}
#: the first GPU that CUDA_VISIBLE_DEVICES leaves visible
_DEVICE = ("device_id", "0")
_ENGINE_CACHE = ("trt_engine_cache_enable", "trt_engine_cache_path")
_TIMING_CACHE = ("trt_timing_cache_enable", "trt_timing_cache_path")


def providers_of(options: EngineOptions) -> List[Tuple[str, Dict[str, str]]]:
    """Return the providers and their options, the most preferred first."""
    if not options.use_gpu:
        return [(CPU, {})]
    cuda = [(key, value) for key, value in options.tuning if key in CUDA_OPTIONS]
    found = [(CUDA, dict([_DEVICE, *cuda])), (CPU, {})]
    return [(TENSORRT, _tensorrt(options)), *found] if options.use_tensorrt else found


def _tensorrt(options: EngineOptions) -> Dict[str, str]:
    given = {key: value for key, value in options.tuning if key.startswith(TENSORRT_PREFIX)}
    if options.use_fp16:
        given["trt_fp16_enable"] = "1"
    for enabled, path in (_ENGINE_CACHE, _TIMING_CACHE):
        if given.get(enabled) == "1":  # else they would be written into the working directory
            given.setdefault(path, str(home() / "cache" / "tensorrt"))
    return dict([_DEVICE, *given.items()])


def open_session(onnxruntime: Any, path: Path, settings: Any, options: EngineOptions) -> Any:
    """Load an ONNX file.

    Raises:
        LoadFailed: a provider for GPUs that was asked for cannot start; the message says why, and what to do.
        Exception: what ONNX Runtime raises for a file that it cannot load.
    """
    providers = providers_of(options)
    wanted = [name for name, _ in providers]
    if wanted == [CPU]:
        return onnxruntime.InferenceSession(str(path), settings, providers=wanted)
    _check_build(onnxruntime, wanted)
    _load_libraries(onnxruntime, wanted)
    for _, given in providers:
        for key in ("trt_engine_cache_path", "trt_timing_cache_path"):
            if key in given:
                os.makedirs(given[key], exist_ok=True)
    try:
        # without the last argument it would compute on the CPU from the first failure of a GPU on
        session = onnxruntime.InferenceSession(str(path), settings, providers=providers, enable_fallback=0)
    except Exception as error:
        failed = next((name for name in reversed(wanted) if _missing_library(onnxruntime, name)), "")
        if not failed and not _is_about_gpu(str(error)):
            raise
        raise _cannot_start(onnxruntime, failed or wanted[0], reason(error)) from error
    missing = [name for name in wanted if name not in session.get_providers()]
    if missing:
        raise _cannot_start(onnxruntime, missing[-1], "")
    return session


def _check_build(onnxruntime: Any, wanted: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in onnxruntime.get_available_providers()]
    if CUDA in missing:
        raise no_gpu("ONNX Runtime", f"the onnxruntime {onnxruntime.__version__} that is installed here is built for CPUs", _OTHER_BUILD)
    if missing:
        raise no_gpu("ONNX Runtime", f"this build of ONNX Runtime has no {_FOR_PEOPLE.get(missing[0], missing[0])}", "Leave TensorRT out.")


def _load_libraries(onnxruntime: Any, wanted: Sequence[str]) -> None:
    """Load CUDA, cuDNN and TensorRT from their packages, if they are installed as packages; ONNX Runtime looks in the system only."""
    preload = getattr(onnxruntime, "preload_dlls", None)
    with redirect_stdout(io.StringIO()), suppress(Exception):  # it prints what it does not find; that is said below, if it is missed
        if preload is not None:
            preload()
    if TENSORRT in wanted and importlib.util.find_spec("tensorrt") is not None:
        with suppress(Exception):
            importlib.import_module("tensorrt")


def _missing_library(onnxruntime: Any, provider: str) -> str:
    """Return the linker's words about a provider that cannot be loaded; "" if it can. Only after ONNX Runtime has tried to."""
    library = Path(onnxruntime.__file__).parent / "capi" / _LIBRARIES.get(provider, "")
    if not library.is_file():
        return ""
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return str(error)
    return ""


def _is_about_gpu(text: str) -> bool:
    return any(word in text for word in ("CUDA", "cuda", "TensorRT", "TENSORRT", "Tensorrt", "cuDNN", "CUDNN"))


def _cannot_start(onnxruntime: Any, provider: str, said: str) -> LoadFailed:
    missing = _missing_library(onnxruntime, provider)
    why = missing or said or "it gives no reason; its own lines in the log do"
    remedy = _INSTALL[provider] if missing else ""
    return no_gpu("ONNX Runtime", f"{_FOR_PEOPLE[provider]} cannot start in ONNX Runtime {onnxruntime.__version__}: {why}", remedy)
