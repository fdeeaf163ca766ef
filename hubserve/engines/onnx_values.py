"""Inputs and outputs of ONNX models, and their conversion between requests and ONNX Runtime.

Tensors of numbers cross as they are, texts as UTF-8, and what a ``ZipMap`` gives (a map from class to score for each item) as the table of
scores that it was made from. Other sequences, maps and optional values have no counterpart among tensors.
"""

import ctypes
import re
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from hubserve.engines.base import Value
from hubserve.engines.onnx_graph import OnnxGraph
from hubserve.errors import InvalidInput, LoadFailed
from hubserve.types import ANY, BFLOAT16, BYTES, REST, TensorSpec

_DTYPES = {
    "bool": "bool",
    "float16": "float16",
    "float": "float32",
    "double": "float64",
    "int8": "int8",
    "int16": "int16",
    "int32": "int32",
    "int64": "int64",
    "uint8": "uint8",
    "uint16": "uint16",
    "uint32": "uint32",
    "uint64": "uint64",
    "string": BYTES,
    "bfloat16": BFLOAT16,
}
#: the number of bfloat16 in onnx.TensorProto.DataType
_ONNX_BFLOAT16 = 16
_TENSOR = re.compile(r"tensor\((\w+)\)")
_TABLE = re.compile(r"seq\(map\((?:int64|string),tensor\((float|double)\)\)\)")
_SEQUENCE = re.compile(r"seq\((.+)\)")
_MAP = re.compile(r"map\((\w+),tensor\((\w+)\)\)")
_OPTIONAL = re.compile(r"optional\((.+)\)")


class Port(NamedTuple):
    """One input or output.

    Attributes:
        name: the file's.
        type: ONNX Runtime's word for what it is.
        spec: the tensor that it is to requests; None where it cannot be one.
        classes: the keys of the maps of what a ZipMap gives; () for all else.
    """

    name: str
    type: str
    spec: Optional[TensorSpec]
    classes: Sequence[Any] = ()

    @property
    def value(self) -> Value:
        """Return its description for where it cannot be a tensor."""
        return Value(self.name, self.type, self.type.startswith("optional("))


def port_of(described: Any, graph: OnnxGraph) -> Port:
    """Describe an input or output.

    Args:
        described: one of those of ``onnxruntime.InferenceSession``.
        graph: what the file says; ONNX Runtime reports a tensor of unknown rank as a scalar.
    Raises:
        LoadFailed: it is a tensor of a type that cannot be served.
    """
    name, kind = described.name, described.type
    tensor, table = _TENSOR.fullmatch(kind), _TABLE.fullmatch(kind)
    if tensor:
        dtype = _DTYPES.get(tensor.group(1))
        if dtype is None:
            raise LoadFailed(
                f"tensor '{name}' has type {kind}, which cannot be served; types that can are {', '.join(_DTYPES)}. Put a Cast to one of "
                "them into the model, and export it again."
            )
        # a length that may vary is a name, or missing
        shape = tuple(length if isinstance(length, int) else ANY for length in described.shape)
        return Port(name, kind, TensorSpec(name, dtype, (REST,) if name in graph.without_rank else shape))
    classes = graph.classes.get(name, ())
    if table and classes:
        return Port(name, kind, TensorSpec(name, _DTYPES[table.group(1)], (ANY, len(classes))), classes)
    return Port(name, kind, None)


def to_runtime(name: str, array: np.ndarray) -> np.ndarray:
    """Convert texts to the form that ONNX Runtime takes; other arrays stay the same.

    Raises:
        InvalidInput: a text is not UTF-8.
    """
    if array.dtype.kind not in "OS":
        return array
    texts = np.empty(array.size, object)
    try:
        texts[:] = [each.decode("utf-8") if isinstance(each, bytes) else str(each) for each in array.ravel()]
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"input '{name}' holds a byte string that is not UTF-8 ({error.reason} at byte {error.start}), and the model takes texts: "
            "encode each text as UTF-8"
        ) from None
    return texts.reshape(array.shape)


def table_of(maps: Sequence[Dict[Any, Any]], port: Port) -> np.ndarray:
    """Turn a ZipMap's maps back into the table of scores that they were made from."""
    assert port.spec is not None
    rows = [[each[key] for key in port.classes] for each in maps]
    return np.array(rows, port.spec.dtype).reshape(len(maps), len(port.classes))


def from_json(value: Any, kind: str, name: str) -> Any:
    """Convert lists and objects of JSON to the values that ONNX Runtime takes for a type.

    Args:
        value: the JSON value.
        kind: ONNX Runtime's word for the type.
        name: the input's, for messages.
    Raises:
        InvalidInput: the value does not fit the type.
    """
    for pattern, make in _MAKERS:
        matched = pattern.fullmatch(kind)
        if matched:
            try:
                return make(value, matched, name)
            except (TypeError, ValueError, OverflowError, AttributeError):
                break
    raise InvalidInput(f"input '{name}' must be {_in_words(kind)}, got {str(value)[:80]}")


def _tensor(value: Any, matched: "re.Match[str]", name: str) -> np.ndarray:
    dtype = _DTYPES.get(matched.group(1), "")
    if dtype == BYTES:
        return to_runtime(name, np.asarray(value, object))
    return np.asarray(value, dtype)


def _sequence(value: Any, matched: "re.Match[str]", name: str) -> List[Any]:
    if not isinstance(value, (list, tuple)):
        raise TypeError
    return [from_json(each, matched.group(1), name) for each in value]


def _map(value: Any, matched: "re.Match[str]", name: str) -> Dict[Any, Any]:  # noqa: ARG001 - the signature of all makers
    key: Callable[[Any], Any] = int if matched.group(1) == "int64" else str
    kind = {"string": str, "int64": int}.get(matched.group(2), float)
    return {key(each): kind(inner) for each, inner in value.items()}


def _optional(value: Any, matched: "re.Match[str]", name: str) -> Any:
    return None if value is None else from_json(value, matched.group(1), name)


_MAKERS: Tuple[Tuple["re.Pattern[str]", Callable[[Any, "re.Match[str]", str], Any]], ...] = (
    (_TENSOR, _tensor),
    (_SEQUENCE, _sequence),
    (_MAP, _map),
    (_OPTIONAL, _optional),
)


def _in_words(kind: str) -> str:
    for pattern, words in ((_OPTIONAL, "null or {}"), (_SEQUENCE, "a list, each of it {}")):
        matched = pattern.fullmatch(kind)
        if matched:
            return words.format(_in_words(matched.group(1)))
    tensor, mapping = _TENSOR.fullmatch(kind), _MAP.fullmatch(kind)
    if mapping:
        return f"an object of numbers or texts ({kind})"
    return f"nested lists of {tensor.group(1)}" if tensor else kind


def run_with_bfloat16(onnxruntime: Any, session: Any, names: Sequence[str], feeds: Dict[str, Any], bfloat16: Sequence[str]) -> List[Any]:
    """Run a model that takes or gives bfloat16, which numpy lacks: such tensors are uint16 arrays here.

    Args:
        onnxruntime: the package.
        session: the model.
        names: of the outputs.
        feeds: name to array.
        bfloat16: the inputs of that type.
    """
    make = onnxruntime.OrtValue
    given = {
        name: make.ortvalue_from_numpy_with_onnx_type(array, _ONNX_BFLOAT16) if name in bfloat16 else make.ortvalue_from_numpy(array)
        for name, array in feeds.items()
    }
    return [_array_of(each) for each in session.run_with_ort_values(list(names), given)]


def _array_of(value: Any) -> Any:
    if value.data_type() != "tensor(bfloat16)":
        return value.numpy()
    shape = value.shape()
    memory: Any = (ctypes.c_uint16 * int(np.prod(shape, dtype=np.int64))).from_address(value.data_ptr()) if 0 not in shape else []
    return np.array(memory, np.uint16).reshape(shape)  # copied: the memory goes with the value
