"""Probes that run in separate processes, because they may crash."""

import time
from collections.abc import Callable
from typing import Any

from hubserve.engines import engine_class
from hubserve.engines.package_imports import import_package, import_paddle
from hubserve.engines.package_versions import paddle_version, version_of
from hubserve.errors import MissingDependency


def import_engine(name: str) -> dict[str, Any]:
    """Import an engine's package.

    Returns:
        ``{"version", "seconds", "cuda", "gpus"}``: whether it was built for CUDA, None for engines that compute on CPUs only, and
        how many GPUs it sees, None if it does not say.
    Raises:
        MissingDependency: the import fails.
    """
    start = time.perf_counter()
    package = engine_class(name).package or name
    if name == "paddle":
        imported, version = import_paddle(), paddle_version()
    else:
        imported = import_package(package, f"the {name} engine", "Install it with: pip install 'hubserve[fast]'")
        version = version_of(package, engine_class(name).gpu_package or package)
    seconds = time.perf_counter() - start
    cuda, gpus = _GPUS.get(name, lambda imported: (None, 0))(imported)  # noqa: ARG005 - the table's signature
    return {"version": version, "seconds": seconds, "cuda": cuda, "gpus": gpus}


def _of_paddle(paddle: Any) -> tuple[bool, int]:
    cuda = bool(paddle.is_compiled_with_cuda())
    return cuda, int(paddle.device.cuda.device_count()) if cuda else 0


def _of_onnxruntime(onnxruntime: Any) -> tuple[bool, None]:
    return "CUDAExecutionProvider" in onnxruntime.get_available_providers(), None


def _of_pytorch(torch: Any) -> tuple[bool, int]:
    return torch.version.cuda is not None, int(torch.cuda.device_count())


def _of_tensorflow(tensorflow: Any) -> tuple[bool, int]:
    return bool(tensorflow.test.is_built_with_cuda()), len(tensorflow.config.list_physical_devices("GPU"))


#: engine -> the function that says whether its package was built for CUDA, and how many GPUs it sees; None if it does not say
_GPUS: dict[str, Callable[[Any], tuple[bool, int | None]]] = {
    "paddle": _of_paddle,
    "onnxruntime": _of_onnxruntime,
    "pytorch": _of_pytorch,
    "tensorflow": _of_tensorflow,
}


def import_opencv() -> str:
    """Import OpenCV and return its version.

    Raises:
        MissingDependency: the import fails, for example because a shared library is missing.
    """
    try:
        import cv2
    except ImportError as error:
        raise MissingDependency(str(error)) from error
    return str(cv2.__version__)
