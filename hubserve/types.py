"""Tensors, their specifications, and requests: the types that all packages share."""

import math
import struct
from typing import Any, Dict, Hashable, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from hubserve.errors import InvalidInput, shown

#: The element types that may cross the wire. Objects and strings are excluded: rebuilding them would need pickle.
DTYPES = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
)

#: numpy takes microseconds to parse or name a dtype, several times a request
_PARSED = {name: np.dtype(name) for name in DTYPES}
_NAMES = {dtype: name for name, dtype in _PARSED.items()}

#: In a TensorSpec: elements are byte strings of any length. Arrays of them have dtype object and hold ``bytes``.
BYTES = "bytes"
#: In a TensorSpec: bfloat16, which numpy lacks. Arrays of them have dtype uint16 and hold the numbers' upper halves.
BFLOAT16 = "bfloat16"

#: In a TensorSpec, a dimension that may have any length.
ANY = -1
#: In a TensorSpec, as the last of a shape: any number of further dimensions. (REST,) is the shape of a tensor of unknown rank.
REST = -2
#: kinds of numpy dtypes whose elements are byte strings or texts
_TEXTS = "OSUT"

#: numpy's own limit before its version 2
MAX_RANK = 32
#: this many byte strings are converted to objects in a few milliseconds; an event loop leaves more to a thread
FEW_ELEMENTS = 16 << 10

_MAX_EMPTY_ITEMS = 65536
_MAX_ELEMENTS = 1 << 48


class TensorSpec(NamedTuple):
    """Name, datatype and shape of one input or output of a model.

    Attributes:
        name: the tensor's name.
        dtype: one of :data:`DTYPES`, :data:`BYTES` or :data:`BFLOAT16`.
        shape: one length per dimension, the batch dimension first; :data:`ANY` for any length, :data:`REST` at the end if further
            dimensions are unknown.
    """

    name: str
    dtype: str
    shape: Tuple[int, ...]

    def check(self, array: np.ndarray) -> None:
        """Raise InvalidInput, with the expected and the actual dtype or shape, unless ``array`` fits."""
        got_dtype = dtype_name(array)
        if got_dtype != ("uint16" if self.dtype == BFLOAT16 else self.dtype):
            raise InvalidInput(f"input '{self.name}' must be {self.dtype}, got {got_dtype}")
        if not fits(self.shape, array.shape):
            rest = ", -2: any further dimensions" if self.shape[-1:] == (REST,) else ""
            raise InvalidInput(f"input '{self.name}' must have shape {list(self.shape)} (-1: any length{rest}), got {list(array.shape)}")

    def to_json(self) -> Dict[str, Any]:
        """Return the specification as a JSON object."""
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}

    @classmethod
    def from_json(cls, described: Dict[str, Any]) -> "TensorSpec":
        """Rebuild a specification from :meth:`to_json`."""
        return cls(described["name"], described["dtype"], tuple(described["shape"]))


def fits(wanted: Sequence[int], shape: Sequence[int]) -> bool:
    """Return True if an array's shape matches a TensorSpec's shape."""
    if wanted and wanted[-1] == REST:
        wanted = wanted[:-1]
        shape = shape[: len(wanted)]
    return len(shape) == len(wanted) and all(want in (ANY, got) for want, got in zip(wanted, shape))


def parse_dtype(dtype: Any) -> np.dtype:
    """Turn a client's dtype text (``"float32"``, ``"<f4"``) into a numpy dtype.

    Raises:
        InvalidInput: it is not text, not a dtype, or not one of :data:`DTYPES` in little-endian order.
    """
    if not isinstance(dtype, str):
        raise InvalidInput(f"dtype must be text such as 'float32', got {type(dtype).__name__}")
    if dtype in _PARSED:
        return _PARSED[dtype]
    try:
        parsed = np.dtype(dtype)
    except (TypeError, ValueError, SyntaxError):
        parsed = None
    if parsed is None or parsed.name not in DTYPES or parsed.str.startswith(">"):
        raise InvalidInput(f"dtype '{dtype[:40]}' cannot be used; use one of {', '.join(DTYPES)}")
    return parsed


def parse_shape(shape: Any) -> Tuple[int, ...]:
    """Check a client's shape.

    Raises:
        InvalidInput: it is not a list of whole numbers from 0 up, has more than 32 dimensions, or claims very many empty items.
    """
    if not isinstance(shape, (list, tuple)) or len(shape) > MAX_RANK:
        raise InvalidInput(f"shape must be a list of at most {MAX_RANK} whole numbers such as [1, 3, 224, 224], got {shown(shape)}")
    for length in shape:
        if isinstance(length, bool) or not isinstance(length, int) or length < 0:
            raise InvalidInput(f"shape must hold whole numbers from 0 up, got {shown(list(shape))}")
    if 0 in shape:
        # such an array takes no bytes, so that nothing else would bound the items that a few characters claim, or what numpy cannot count
        items, size = math.prod(shape[: shape.index(0)]), math.prod(length or 1 for length in shape)
        if items > _MAX_EMPTY_ITEMS or size > _MAX_ELEMENTS:
            raise InvalidInput(f"shape {shown(list(shape))} claims too many empty items; send at most {_MAX_EMPTY_ITEMS}")
    return tuple(shape)


def dtype_name(array: np.ndarray) -> str:
    """Return an array's dtype as a TensorSpec has it; :data:`BYTES` for texts and objects."""
    name = _NAMES.get(array.dtype)
    if name is None:
        name = BYTES if array.dtype.kind in _TEXTS else str(array.dtype.name)
    return name


def native(array: np.ndarray) -> np.ndarray:
    """Return the array itself, or a copy in this machine's byte order if it has the other one."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def packed(array: Any) -> Tuple[str, Any]:
    """Convert an array to its form on the wire.

    Args:
        array: in any memory layout and byte order; byte strings as ``bytes``, ``str`` or numpy's own.
    Returns:
        Its dtype as a TensorSpec has it, and its elements: a C-ordered little-endian array, or bytes as :func:`pack_bytes` gives them.
    Raises:
        InvalidInput: its dtype has no counterpart, or it holds objects that are not byte strings.
    """
    array = np.asarray(array)
    name = _NAMES.get(array.dtype)
    if name is not None:
        return name, np.ascontiguousarray(array)
    if array.dtype.kind in _TEXTS:
        return BYTES, pack_bytes(array)
    if array.dtype.name == BFLOAT16 and array.dtype.itemsize == 2:  # such as of the package ml_dtypes
        return BFLOAT16, np.ascontiguousarray(native(array)).view(np.uint16)
    if array.dtype.name not in _PARSED:
        raise InvalidInput(f"an array of dtype {array.dtype} cannot be sent; convert it with astype() to one of {', '.join(DTYPES)}")
    return str(array.dtype.name), np.ascontiguousarray(native(array))


_LENGTH = struct.Struct("<I")


class _WithPacked(np.ndarray):
    """Byte strings that carry their packed form."""

    packed: Any = None


def with_packed(array: np.ndarray, packed: Any) -> np.ndarray:
    """Attach the result of :func:`pack_bytes` to an array of byte strings that never changes."""
    view = array.view(_WithPacked)
    view.packed = packed
    return view


def pack_bytes(array: np.ndarray) -> Any:
    """Pack byte strings into one buffer: each after its length as a little-endian uint32, in C order.

    Args:
        array: of ``bytes`` or ``str``, of any shape.
    Raises:
        InvalidInput: an element is neither.
    """
    packed = getattr(array, "packed", None)
    if packed is not None:
        return packed
    parts = []
    for element in array.ravel():
        text = element.encode("utf-8", "surrogatepass") if isinstance(element, str) else element
        if not isinstance(text, (bytes, bytearray, memoryview)):
            raise InvalidInput(f"an array of byte strings holds a {type(element).__name__}; put bytes or str into it")
        parts.append(_LENGTH.pack(len(text)))
        parts.append(bytes(text))
    return b"".join(parts)


def unpack_bytes(data: Any, shape: Any) -> np.ndarray:
    """Unpack the buffer of :func:`pack_bytes`.

    Args:
        data: any bytes-like object; the elements are copies of its parts.
        shape: a client's shape.
    Returns:
        An array of dtype object that holds ``bytes``.
    Raises:
        InvalidInput: the data do not hold exactly that many elements.
    """
    lengths, view = parse_shape(shape), memoryview(data)
    count = 1
    for length in lengths:
        count *= length
    if count * _LENGTH.size > view.nbytes:
        raise InvalidInput(
            f"shape {shown(list(lengths), 120)} needs {count if count < 1 << 60 else 'far too many'} byte strings, "
            f"each behind 4 bytes of length, but only {view.nbytes} bytes came"
        )
    array, start = np.empty(count, object), 0
    for index in range(count):
        stop = start + _LENGTH.size
        if stop <= view.nbytes:
            stop += _LENGTH.unpack_from(view, start)[0]
        if stop > view.nbytes:
            raise InvalidInput(f"byte string {index + 1} of {count} ends behind the {view.nbytes} bytes that came; check its length")
        array[index] = bytes(view[start + _LENGTH.size : stop])
        start = stop
    if start != view.nbytes:
        raise InvalidInput(f"{count} byte strings of shape {list(lengths)} take {start} bytes, but {view.nbytes} came")
    return array.reshape(lengths)


def array_from_bytes(data: Any, dtype: Any, shape: Any) -> np.ndarray:
    """View little-endian C-ordered bytes as an array, without a copy; byte strings are copied (see :func:`unpack_bytes`).

    Args:
        data: any bytes-like object.
        dtype: a client's dtype text.
        shape: a client's shape.
    Returns:
        A read-only array (writeable if ``data`` is).
    Raises:
        InvalidInput: dtype or shape are unusable, or do not account for exactly ``len(data)`` bytes.
    """
    if dtype == BYTES:
        return unpack_bytes(data, shape)
    parsed, lengths = parse_dtype("uint16" if dtype == BFLOAT16 else dtype), parse_shape(shape)
    size_bytes = parsed.itemsize
    for length in lengths:  # Python integers: a huge shape must not overflow into a fitting one
        size_bytes *= length
    got_bytes = memoryview(data).nbytes
    if size_bytes != got_bytes:
        raise InvalidInput(
            f"shape {shown(list(lengths), 120)} of {parsed.name} needs {size_bytes if size_bytes < 1 << 60 else 'far too many'} bytes, "
            f"but {got_bytes} came"
        )
    return np.frombuffer(data, dtype=parsed).reshape(lengths)


def check_arrays(specs: Sequence[TensorSpec], arrays: Dict[str, Any]) -> None:
    """Check named arrays against their specifications, without comparing their first dimensions.

    Raises:
        InvalidInput: a name is missing or unknown, or an array does not fit.
    """
    _check_names(specs, arrays)
    for spec in specs:
        spec.check(arrays[spec.name])


def _check_names(specs: Sequence[TensorSpec], arrays: Dict[str, Any]) -> None:
    expected = [spec.name for spec in specs]
    if set(arrays) != set(expected):
        raise InvalidInput(f"inputs must be {expected}, got {sorted(arrays)}")


def check_inputs(specs: Sequence[TensorSpec], arrays: Dict[str, Any]) -> int:
    """Check named arrays against their specifications.

    Args:
        specs: the module's inputs; the first dimension of each is the batch.
        arrays: name to array.
    Returns:
        The number of items: the common length of the first dimension; 1 for a module without inputs.
    Raises:
        InvalidInput: a name is missing or unknown, an array does not fit, the lengths differ, or the batch is empty.
    """
    _check_names(specs, arrays)
    count: Optional[int] = None
    for spec in specs:
        array = arrays[spec.name]
        spec.check(array)
        if count is not None and len(array) != count:
            raise InvalidInput(f"all inputs must have the same number of items, got {count} and {len(array)}")
        count = len(array)
    if not specs:
        return 1
    if not count:
        raise InvalidInput("the batch is empty: send at least one item")
    return count


def specs_to_json(specs: Sequence[TensorSpec]) -> List[Dict[str, Any]]:
    """Return several specifications as JSON objects."""
    return [spec.to_json() for spec in specs]


def specs_from_json(described: Sequence[Dict[str, Any]]) -> List[TensorSpec]:
    """Rebuild specifications from :func:`specs_to_json`."""
    return [TensorSpec.from_json(each) for each in described]


class SequencePart(NamedTuple):
    """Membership of a request in a sequence; requests of one sequence are computed in order, by one instance.

    Attributes:
        id: a number from 1 up, or a text.
        start, end: whether it is the first or the last.
    """

    id: Union[int, str]
    start: bool = False
    end: bool = False


class InferRequest:
    """One request on its way from a protocol to a module.

    Exactly one of ``tensors``, ``arguments`` and ``pictures`` is given; it selects the interface of the module that answers. Pictures that
    are not items of a batch may come with arguments, including those of the server's configuration.

    Attributes:
        module: the served name.
        version: as installed; None for the served one.
        tensors: name to array, the batch as first dimension.
        arguments: a JSON object, as any bytes-like object.
        pictures: encoded pictures, one item each, as any bytes-like objects.
        wants_json: whether the client wants JSON rather than tensors.
        outputs: the names of the requested tensors; None for all.
        id: the client's, for modules that see raw requests.
        parameters: the client's, for modules that see raw requests: text, numbers and booleans by name.
        sequence: the sequence that it is part of, if any.
        deadline: on the clock of ``time.monotonic``; None for none.
        priority: lower ones are computed first.
        layout: key of the names, dtypes and shapes of the tensors: requests to one module with equal keys need to be checked only once;
            None if unknown.
        marks: collects the stages that the request passed and their times, in seconds of ``time.monotonic``; None if it is not
            traced.
    """

    __slots__ = (
        "arguments",
        "deadline",
        "id",
        "layout",
        "marks",
        "module",
        "outputs",
        "parameters",
        "pictures",
        "priority",
        "sequence",
        "tensors",
        "version",
        "wants_json",
    )

    def __init__(
        self,
        module: str,
        version: Optional[str] = None,
        tensors: Optional[Dict[str, np.ndarray]] = None,
        arguments: Any = None,
        pictures: Optional[List[Any]] = None,
        wants_json: bool = True,
        deadline: Optional[float] = None,
        priority: int = 0,
        outputs: Optional[List[str]] = None,
        id: str = "",  # noqa: A002 - the protocols' word
        parameters: Optional[Dict[str, Any]] = None,
        sequence: Optional[SequencePart] = None,
    ) -> None:
        self.module = module
        self.version = version
        self.tensors = tensors
        self.arguments = arguments
        self.pictures = pictures
        self.wants_json = wants_json
        self.deadline = deadline
        self.priority = priority
        self.outputs = outputs
        self.id = id
        self.parameters = parameters or {}
        self.sequence = sequence
        self.layout: Optional[Hashable] = None
        self.marks: Optional[Dict[str, float]] = None


class InferResponse(NamedTuple):
    """The answer to one request.

    Attributes:
        json: the bytes of the JSON answer, if JSON was requested.
        tensors: name to array, otherwise.
        parameters: text, numbers and booleans by name, from modules that set them.
        final: whether no more responses follow; the last one of a stream may say so, or the stream just ends.
    """

    json: Optional[memoryview] = None
    tensors: Optional[Dict[str, np.ndarray]] = None
    parameters: Optional[Dict[str, Any]] = None
    final: bool = True
