"""The table of engines: one file and one row each."""

from difflib import get_close_matches
from importlib import import_module
from typing import Dict, Optional, Type

from hubserve.engines.base import Engine
from hubserve.errors import ConfigError

#: name -> "package.module:Class"; importing the class imports no engine
ENGINES = {
    "paddle": "hubserve.engines.paddle:PaddleEngine",
    "openvino": "hubserve.engines.openvino:OpenVinoEngine",
    "onnxruntime": "hubserve.engines.onnxruntime:OnnxRuntimeEngine",
    "pytorch": "hubserve.engines.pytorch:PyTorchEngine",
    "megengine": "hubserve.engines.megengine:MegEngineEngine",
    "oneflow": "hubserve.engines.oneflow:OneFlowEngine",
    "tensorflow": "hubserve.engines.tensorflow:TensorFlowEngine",
}
AUTO = "auto"


def environment_for(engine: str) -> Optional[Dict[str, str]]:
    """Return what a model asks of its environment (:attr:`hubserve.kinds.base.ModuleInfo.environment`) to be computed by an engine."""
    return {"engine": engine} if engine != AUTO and engine_class(engine).profile else None


def engine_class(name: str) -> Type[Engine]:
    """Return the class of an engine of the table.

    Raises:
        ConfigError: no engine has that name.
    """
    if name not in ENGINES:
        known = [*ENGINES, AUTO]
        near = get_close_matches(str(name).lower(), known, 1)
        meant = f" Did you mean '{near[0]}'?" if near else ""
        raise ConfigError(f"there is no engine '{name}'; known are {', '.join(known)}.{meant}")
    module, _, cls = ENGINES[name].partition(":")
    return getattr(import_module(module), cls)  # type: ignore[no-any-return]  # the table holds engines only
