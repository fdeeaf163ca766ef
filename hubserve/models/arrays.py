"""Read arrays of JSON requests: nested lists, or base64 with shape and dtype."""

import json
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

import numpy as np

from hubserve.errors import InvalidInput
from hubserve.module import decode_array
from hubserve.types import BYTES, DTYPES, REST, TensorSpec

_EXAMPLE_ELEMENTS = 8
#: of an example that can be sent as it is
_MOST_ELEMENTS = 4096
_FORMS = "nested lists of numbers, or {'data': base64, 'shape': [...], 'dtype': '...'}"


def arrays_of(inputs: Any, specs: Sequence[TensorSpec]) -> Dict[str, np.ndarray]:
    """Read named arrays without checking their shapes.

    Args:
        inputs: name to array, each nested lists of numbers or ``{"data": base64, "shape": [...], "dtype": "float32"}``. Names with dots may
            be written as objects and lists: ``{"batch": {"image": [...]}}`` is ``{"batch.image": [...]}``.
        specs: the model's inputs; lists get their dtypes.
    Raises:
        InvalidInput: a name is missing or unknown, or a value is not such an array.
    """
    expected = [spec.name for spec in specs]
    inputs = _flattened(inputs, expected)
    if not isinstance(inputs, dict) or set(inputs) != set(expected):
        got = sorted(inputs) if isinstance(inputs, dict) else type(inputs).__name__
        raise InvalidInput(f"'inputs' must be an object with the arrays {expected}, got {got}")
    return {spec.name: _array_of(inputs[spec.name], spec) for spec in specs}


def _flattened(inputs: Any, expected: Sequence[str]) -> Any:
    """Put the values of objects and lists under dotted names, as far as these are expected."""
    if not isinstance(inputs, dict) or not any("." in name for name in expected):
        return inputs
    found: Dict[str, Any] = {}

    def put(name: str, value: Any) -> None:
        inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        if name in expected or not any(each.startswith(f"{name}.") for each in expected) or not inner:
            found[name] = value
            return
        for key, each in inner:
            put(f"{name}.{key}", each)

    for name, value in inputs.items():
        put(str(name), value)
    return found


def _array_of(value: Any, spec: TensorSpec) -> np.ndarray:
    if isinstance(value, dict):
        return decode_array(value.get("data"), value)
    if spec.dtype == BYTES:
        return _texts_of(value, spec)
    array = _plain_array(value)
    if array.dtype.kind not in "bifu":
        raise InvalidInput(f"input '{spec.name}' must be {_FORMS}; the lists must be of equal lengths, got {str(value)[:80]}")
    with np.errstate(all="ignore"):  # numbers that do not fit are reported below
        cast = array.astype(spec.dtype)
    if cast.dtype.kind in "biu" and not np.array_equal(cast, array):
        raise InvalidInput(f"input '{spec.name}' must be {spec.dtype}, and some of the numbers that came are not: {str(value)[:80]}")
    return cast


def _plain_array(value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError:  # rows of different lengths
        return np.asarray(None)


def _texts_of(value: Any, spec: TensorSpec) -> np.ndarray:
    array = _plain_array(value)
    if array.dtype.kind == "U" or not array.size:
        array = np.array(value, object)  # numpy's own texts lose trailing zeros
        if all(isinstance(each, str) for each in array.ravel()):
            return np.array([each.encode("utf-8", "surrogatepass") for each in array.ravel()] + [None], object)[:-1].reshape(array.shape)
    raise InvalidInput(f"input '{spec.name}' must be nested lists of texts, the lists of equal lengths, got {str(value)[:80]}")


def nested_example(spec: TensorSpec) -> Any:
    """Return an example of an input in a request: nested lists if they are short, else base64."""
    shape = [max(1, length) for length in spec.shape]
    if np.prod(shape) > _EXAMPLE_ELEMENTS:
        return {"data": "<base64>", "shape": shape, "dtype": spec.dtype}
    if spec.dtype == BYTES:
        return np.full(shape, "text", object).tolist()
    return np.zeros(shape, spec.dtype if spec.dtype in DTYPES else "float32").tolist()


def example_of_inputs(specs: Sequence[TensorSpec]) -> Optional[Dict[str, Any]]:
    """Return ``{"inputs": {name: nested lists}}`` of one item of zeros and texts, to be sent as it is; None if that would be long."""
    shapes = [[max(1, length) for length in spec.shape if length != REST] for spec in specs]
    if not specs or sum(int(np.prod(shape)) for shape in shapes) > _MOST_ELEMENTS:
        return None
    return {
        "inputs": {spec.name: np.full(shape, "text" if spec.dtype == BYTES else 0, object).tolist() for spec, shape in zip(specs, shapes)}
    }


def read_inputs(text: str) -> Any:
    """Read the inputs of ``hub run NAME --inputs`` for :func:`arrays_of`: JSON text, or the path of a ``.json`` or ``.npz`` file.

    Raises:
        InvalidInput: it cannot be read.
    """
    try:
        if text.lstrip().startswith("{"):
            return json.loads(text)
        if text.endswith(".npz"):
            with np.load(text, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        return json.loads(Path(text).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInput(f"--inputs {text[:80]!r} cannot be read: {error}. Give JSON text, or a .json or .npz file.") from None
