"""Read the ``config.pbtxt`` of a Triton model, by Triton's own published schema, into a plain JSON object.

The object has Triton's names and Triton's JSON form: enumerations by name, whole numbers as numbers, fields without a value at their
defaults. Reading needs protobuf and Triton's schema, which only the gateway has; instances receive the object.
"""

import re
import warnings
from pathlib import Path
from typing import Any, Dict, Mapping, Optional

from hubserve.engines.model_formats import FORMATS
from hubserve.errors import ConfigError, MissingDependency
from hubserve.kinds.triton.accelerators import OPENVINO, is_on_openvino

CONFIG_NAME = "config.pbtxt"

#: platform, by which older configurations name a backend -> the backend
_PLATFORMS = {
    **{platform: backend for backend, each in FORMATS.items() for platform in each.platforms},
    "ensemble": "ensemble",
    "tensorflow_graphdef": "tensorflow_graphdef",
    "tensorrt_plan": "tensorrt",
}
#: backend -> the default name of its model in a version's folder
MODEL_NAMES = {**{backend: each.stored[0] for backend, each in FORMATS.items()}, "python": "model.py"}
#: the most names of a template's values in a message
_NAMES_SHOWN = 8
ENSEMBLE = "ensemble"
#: platform or backend of Triton that is not supported -> the remedy
_INSTEAD = {
    "tensorflow_graphdef": "it is the frozen graph of TensorFlow 1. Save the model as a SavedModel for backend 'tensorflow', or convert "
    "it to ONNX (python -m tf2onnx.convert --graphdef)",
    "tensorrt": "serve the ONNX file that the plan was built from, as model.onnx with backend 'onnxruntime'",
    "identity": "write a model.py that gives its inputs back, and set backend to 'python'",
}
BACKENDS = (*MODEL_NAMES, ENSEMBLE)
#: data type of a configuration -> dtype of a TensorSpec
DTYPES = {
    "TYPE_BOOL": "bool",
    "TYPE_UINT8": "uint8",
    "TYPE_UINT16": "uint16",
    "TYPE_UINT32": "uint32",
    "TYPE_UINT64": "uint64",
    "TYPE_INT8": "int8",
    "TYPE_INT16": "int16",
    "TYPE_INT32": "int32",
    "TYPE_INT64": "int64",
    "TYPE_FP16": "float16",
    "TYPE_FP32": "float32",
    "TYPE_FP64": "float64",
    "TYPE_STRING": "bytes",
    "TYPE_BF16": "bfloat16",
}
DATA_TYPES = {dtype: data_type for data_type, dtype in DTYPES.items()}

_INSTALL = "Install them with: pip install 'hubserve[triton]'"


def read_config(path: Path) -> Dict[str, Any]:
    """Read a ``config.pbtxt``.

    Raises:
        ConfigError: it cannot be read, or is not such a configuration; the message has file, line, column and reason.
        MissingDependency: protobuf or Triton's schema is not installed.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read '{path}': {getattr(error, 'strerror', None) or error}. It must be a text file in UTF-8.") from None
    return parse_config(text, str(path))


def parse_config(text: str, origin: str) -> Dict[str, Any]:
    """Parse a configuration.

    Args:
        text: protobuf text.
        origin: its name in messages, such as a file's path.
    Raises:
        ConfigError, MissingDependency: see :func:`read_config`.
    """
    schema = _schema()
    from google.protobuf import text_format

    try:
        message = text_format.Parse(text, schema.ModelConfig())
    except (text_format.ParseError, UnicodeDecodeError, ValueError) as error:
        template = _as_template(text)
        raise ConfigError(f"'{origin}' is not a model configuration of Triton's: {template or _readable(str(error))}") from None
    return _to_json(message)


def _as_template(text: str) -> str:
    """Return a message for a configuration that is a template with values to fill in; "" if it is not."""
    names = list(dict.fromkeys(re.findall(r"\$\{\w+\}", text)))
    if not names:
        return ""
    shown = ", ".join(names[:_NAMES_SHOWN]) + (f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else "")
    return f"it is a template with values to fill in: {shown}. Write each value in the place of its name, or remove its line."


def parse_config_json(document: Any, origin: str) -> Dict[str, Any]:
    """Check a configuration in the form of a decoded JSON object; its numbers may be texts.

    Raises:
        ConfigError, MissingDependency: see :func:`read_config`.
    """
    schema = _schema()
    from google.protobuf import json_format

    if not isinstance(document, dict):
        raise ConfigError(f"{origin}: a model configuration must be a JSON object, got {type(document).__name__}")
    try:
        message = json_format.ParseDict(document, schema.ModelConfig())
    except (json_format.ParseError, ValueError, TypeError, RecursionError) as error:
        raise ConfigError(f"{origin} is not a model configuration of Triton's: {_readable(str(error))}") from None
    return _to_json(message)


def empty_config() -> Dict[str, Any]:
    """Return the configuration of a model without a ``config.pbtxt``, before it is completed."""
    texts = ("name", "platform", "backend", "runtime", "default_model_filename")
    lists = ("input", "output", "batch_input", "batch_output", "instance_group", "model_warmup")
    maps = ("cc_model_filenames", "metric_tags", "parameters")
    return {
        **dict.fromkeys(texts, ""),
        "max_batch_size": 0,
        **{key: [] for key in lists},
        **{key: {} for key in maps},
    }


def backend_of(config: Mapping[str, Any]) -> str:
    """Return the backend that ``backend`` or ``platform`` names; "" if neither is set.

    Raises:
        ConfigError: the two contradict each other, or the backend is not supported.
    """
    backend, platform = config.get("backend", ""), config.get("platform", "")
    if platform and platform not in _PLATFORMS and platform not in BACKENDS:
        raise _no_backend(config, "platform", platform)
    named = _PLATFORMS.get(platform, platform)
    if backend and named and backend != named:
        raise ConfigError(
            f"model '{config['name']}': backend '{backend}' and platform '{platform}' contradict each other. Remove one of them."
        )
    backend = backend or named
    if backend and backend not in BACKENDS:
        raise _no_backend(config, "backend" if config.get("backend") else "platform", config.get("backend") or platform)
    return str(backend)


def engine_of(config: Mapping[str, Any], backend: str, use_gpu: bool = False) -> str:
    """Return the engine of a model's file: its parameter ``engine``, else an accelerator for CPUs that is an engine, else the backend's."""
    named = config.get("parameters", {}).get("engine", {}).get("string_value", "")
    return str(named or (OPENVINO if not use_gpu and is_on_openvino(config, backend) else backend))


def _no_backend(config: Mapping[str, Any], key: str, value: str) -> ConfigError:
    instead = _INSTEAD.get(_PLATFORMS.get(value, value), "write a model.py for backend 'python' that computes it")
    return ConfigError(
        f"model '{config['name']}': {key} '{value}' is not supported here: {instead}. Supported backends are {', '.join(BACKENDS)}."
    )


def _schema() -> Any:
    try:
        with warnings.catch_warnings():  # protobuf warns that its next major version will not read the wheel's generated code
            warnings.filterwarnings("ignore", message="Protobuf gencode version", category=UserWarning)
            from tritonclient.grpc import model_config_pb2
    except (ImportError, RuntimeError) as error:  # tritonclient raises RuntimeError if a package for gRPC is missing
        raise MissingDependency(f"reading a Triton model's config.pbtxt needs tritonclient and protobuf ({error}). {_INSTALL}") from None
    return model_config_pb2


def _readable(text: str) -> str:
    """Return ``line 3, column 5: ...`` for protobuf's ``3:5 : ...``."""
    position, colon, reason = text.partition(" : ")
    line, _, column = position.partition(":")
    if not (colon and line.isdigit() and column.isdigit()):
        return text
    return f"line {line}, column {column}: {reason}"


def _to_json(message: Any) -> Dict[str, Any]:
    from google.protobuf import json_format

    document = json_format.MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return _with_numbers(document, message.DESCRIPTOR)


def _with_numbers(document: Dict[str, Any], described: Any) -> Dict[str, Any]:
    """Return a document with numbers in place of the texts that protobuf's JSON form has for 64-bit numbers."""
    return {key: _number(value, described.fields_by_name[key]) for key, value in document.items()}


def _number(value: Any, field: Any) -> Any:
    if isinstance(value, list):
        return [_number(each, field) for each in value]
    if field.message_type is None:
        wide = (field.CPPTYPE_INT64, field.CPPTYPE_UINT64)
        return int(value) if field.cpp_type in wide else value
    if field.message_type.GetOptions().map_entry:
        inner = field.message_type.fields_by_name["value"]
        return {key: _number(each, inner) for key, each in value.items()}
    return _with_numbers(value, field.message_type)


def find_tensor(config: Mapping[str, Any], side: str, name: str) -> Optional[Dict[str, Any]]:
    """Return the entry of ``input`` or ``output`` of that name, or None."""
    return next((tensor for tensor in config.get(side, []) if tensor["name"] == name), None)
