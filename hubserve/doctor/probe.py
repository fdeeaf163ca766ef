"""Probes that run in separate processes, because they may crash."""

import time
from typing import Any

from hubserve.engines import engine_class
from hubserve.engines.package_imports import import_package, import_paddle
from hubserve.engines.package_versions import paddle_version, version_of
from hubserve.errors import MissingDependency


def import_engine(name: str) -> dict[str, Any]:
    """Import an engine's package.

    Returns:
        ``{"version", "seconds", "cuda", "gpus"}``: whether it was built for CUDA, and how many GPUs it sees; None and 0 for engines
        that compute on CPUs only.
    Raises:
        MissingDependency: the import fails.
    """
    start = time.perf_counter()
    if name != "paddle":
        package = engine_class(name).package or name
        import_package(package, f"the {name} engine", "Install it with: pip install 'hubserve[fast]'")
        return {"version": version_of(package), "seconds": time.perf_counter() - start, "cuda": None, "gpus": 0}
    paddle = import_paddle()
    seconds = time.perf_counter() - start
    cuda = bool(paddle.is_compiled_with_cuda())
    gpus = int(paddle.device.cuda.device_count()) if cuda else 0
    return {"version": paddle_version(), "seconds": seconds, "cuda": cuda, "gpus": gpus}


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
