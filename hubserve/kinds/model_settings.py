"""The ``init_args`` of a model file.

``engine``
    a name of :data:`hubserve.engines.ENGINES`, or ``auto`` for the fastest that agrees with the model's own framework. The default is ONNX
    Runtime for ONNX files, ``auto`` for Paddle's, and for others their own framework.
``max_batch_size``
    the most items in one call, or 0 if the first dimension does not count items. By default judged by the model.
``inputs``, ``outputs``
    lists of ``{"name", "datatype", "shape"}``, for TorchScript files, which do not contain them.
Options of engines
    such as ``cpu_num_threads`` and ``use_gpu`` (:class:`hubserve.engines.EngineOptions`), and the parameters that Triton documents for
    the model's backend (:mod:`hubserve.engines.tuning`).
"""

import json
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from hubserve.engines import EngineOptions, check_options
from hubserve.engines.base import Signature
from hubserve.engines.model_formats import FORMATS
from hubserve.engines.selection import is_installed
from hubserve.engines.table import AUTO, engine_class
from hubserve.engines.tuning import PARAMETERS, is_known, read_tuning
from hubserve.errors import ConfigError
from hubserve.kinds.triton.config import DTYPES
from hubserve.module import instance_threads
from hubserve.types import ANY, TensorSpec

_OWN = ("engine", "max_batch_size", "inputs", "outputs")
_OPTIONS = tuple(each for each in EngineOptions._fields if each not in ("max_batch_size", "signature", "tuning", "sample_shape"))
_DATATYPES = {name[len("TYPE_") :]: dtype for name, dtype in DTYPES.items()}
_DATATYPES["BYTES"] = _DATATYPES.pop("STRING")
_MOST_ITEMS = 32


class Settings(NamedTuple):
    """The settings of one model.

    Attributes:
        engine: its name, or "auto".
        options: of the engine.
        max_batch_size: None to judge it by the model.
        notes: settings without effect, and the reasons.
    """

    engine: str
    options: EngineOptions
    max_batch_size: Optional[int]
    notes: List[str]


def read_settings(name: str, backend: str, init_args: Mapping[str, Any], use_gpu: bool) -> Settings:
    """Read a model's ``init_args``.

    Args:
        name: the model's, for messages.
        backend: Triton's name of the backend for the file's format.
        init_args: from the server's configuration.
        use_gpu: whether the server's settings prefer GPUs.
    Raises:
        ConfigError: a setting is unknown or cannot be used.
    """
    where = f"modules_info.{name}.init_args: "
    given = {key: value for key, value in init_args.items() if key not in _OWN and key not in _OPTIONS}
    for key in given:
        if not is_known(backend, key):
            known = [*_OWN, *_OPTIONS, *PARAMETERS.get(backend, {})]
            raise ConfigError(f"{where}a model of {backend} has no setting '{key}'; its settings are {', '.join(known)}")
    engine = str(init_args.get("engine") or _default_engine(backend))
    on_gpu = computes_on_gpu(backend, init_args, use_gpu)
    tuning = read_tuning(backend, {key: _text(value) for key, value in given.items()}, where, on_gpu)
    most = init_args.get("max_batch_size")
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 0):
        raise ConfigError(f"{where}max_batch_size must be a whole number from 0 up, got {most!r}")
    options = EngineOptions(
        use_gpu=on_gpu,
        cpu_num_threads=tuning.threads or instance_threads(),
        max_batch_size=most or _MOST_ITEMS,
        tuning=tuning.settings,
        signature=_signature(where, init_args),
    )
    options = options._replace(**{key: value for key, value in init_args.items() if key in _OPTIONS})
    check_options(engine, options)
    return Settings(engine, options, most, tuning.notes)


def computes_on_gpu(backend: str, init_args: Mapping[str, Any], use_gpu: bool) -> bool:
    """Return True if a model computes on a GPU: if its ``init_args`` say so, or else the server's settings, for engines that can.

    Args:
        backend: Triton's name of the backend for the file's format.
        init_args: from the server's configuration.
        use_gpu: whether the server's settings prefer GPUs.
    Raises:
        ConfigError: the engine is unknown.
    """
    own = init_args.get("use_gpu")
    if own is not None:
        return bool(own)
    engine = str(init_args.get("engine") or _default_engine(backend))
    engine = FORMATS[backend].engine if engine == AUTO else engine
    return use_gpu and (engine == AUTO or engine_class(engine).has_gpu)


def _default_engine(backend: str) -> str:
    default = FORMATS[backend].engine
    return "openvino" if default == "onnxruntime" and not is_installed(default) and is_installed("openvino") else default


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, (bool, dict)) else str(value)


def _signature(where: str, init_args: Mapping[str, Any]) -> Optional[Signature]:
    sides = [init_args.get(side) for side in ("inputs", "outputs")]
    if sides == [None, None]:
        return None
    if not all(isinstance(each, list) and each for each in sides):
        raise ConfigError(
            f'{where}inputs and outputs go together, each a list like [{{"name": "x", "datatype": "FP32", "shape": [-1, 3]}}]'
        )
    inputs, outputs = ([_spec(where, each) for each in side or []] for side in sides)
    return Signature(inputs, outputs)


def _spec(where: str, described: Any) -> TensorSpec:
    if isinstance(described, dict):
        datatype, shape = str(described.get("datatype", "")), described.get("shape")
        dtype: Dict[str, str] = {**_DATATYPES, **{each: each for each in _DATATYPES.values()}}
        is_shape = isinstance(shape, list) and all(isinstance(each, int) and not isinstance(each, bool) and each >= ANY for each in shape)
        if isinstance(described.get("name"), str) and datatype in dtype and is_shape and set(described) == {"name", "datatype", "shape"}:
            return TensorSpec(described["name"], dtype[datatype], tuple(shape or ()))
    raise ConfigError(
        f'{where}{described!r} is not a tensor; write it like {{"name": "x", "datatype": "FP32", "shape": [-1, 3]}} '
        f"with a datatype of {', '.join(_DATATYPES)}, and -1 for a length that varies"
    )
