"""Check every field of the headers of frames from an instance before it is used.

A module's code can write to its instance's sockets, on purpose or by a wrong descriptor. A frame that is not exactly an allowed one ends
the instance; nothing of it reaches a client or another module.
"""

from math import prod
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from hubserve.gateway.instances.metrics_checks import Metrics, check_families
from hubserve.kinds.description import Interface
from hubserve.types import BFLOAT16, BYTES, DTYPES, parse_dtype
from hubserve.wire.arena import REQUESTS_BYTES, RESPONSE_BUFFER_BYTES
from hubserve.wire.frames import WireError

Count = Annotated[int, Meta(ge=0)]
AtLeastOne = Annotated[int, Meta(ge=1)]
#: a larger number cannot come from a clock
Seconds = Annotated[float, Meta(ge=0, lt=1e9)]
Parameters = dict[str, bool | int | float | str]

_ITEM_BYTES = {**{name: parse_dtype(name).itemsize for name in DTYPES}, BFLOAT16: 2}
#: each byte string is preceded by its length
_LENGTH_BYTES = 4


class _Array(Struct):
    name: str
    dtype: str
    shape: list[Count]
    buffer: Count


class _Error(Struct):
    code: str
    message: str
    detail: str


class _Result(Struct):
    json: Count | UnsetType = UNSET
    outputs: list[_Array] | UnsetType = UNSET
    error: _Error | UnsetType = UNSET
    later: bool | UnsetType = UNSET
    parameters: Parameters | UnsetType = UNSET


class _Results(Struct):
    results: list[_Result]
    times: list[tuple[AtLeastOne, Seconds]]
    took_s: Seconds
    calls_s: Seconds
    prepare_s: Seconds
    out_of_memory: Count = 0


class _Spec(Struct):
    name: str
    dtype: str
    shape: list[int]


#: name, annotation, whether it is required, default; see :class:`hubserve.kinds.description.Argument`
_Argument = tuple[Annotated[str, Meta(max_length=200)], Annotated[str, Meta(max_length=300)], bool, Annotated[str, Meta(max_length=2000)]]


class _Description(Struct):
    interfaces: list[str]
    inputs: list[_Spec]
    outputs: list[_Spec]
    json_array: tuple[str, str] | None
    picture_item: _Spec | None
    max_batch_size: AtLeastOne
    engine: dict[str, Any] | None
    batched: bool
    raw_requests: bool
    decoupled: bool
    concurrent: bool
    optional: list[str]
    ragged: list[str]
    config: dict[str, Any] | None
    labels: dict[str, list[Any]] | None
    json_pictures: str = ""
    usage: Annotated[str, Meta(max_length=16 << 10)] = ""
    argument_types: dict[str, str] | None = None
    arguments: Annotated[list[_Argument], Meta(max_length=256)] = []
    takes_any: bool = False
    doc: Annotated[str, Meta(max_length=16 << 10)] = ""
    example: Annotated[str, Meta(max_length=64 << 10)] = ""


class _Loaded(Struct):
    description: _Description
    times: list[tuple[AtLeastOne, Seconds]]


class _Failed(Struct):
    error: _Error


class _Response(Struct):
    key: AtLeastOne
    final: bool
    outputs: list[_Array] | UnsetType = UNSET
    error: _Error | UnsetType = UNSET
    parameters: Parameters | UnsetType = UNSET


class _Key(Struct):
    key: AtLeastOne


class _Taken(Struct):
    key: AtLeastOne
    count: AtLeastOne


class _Call(Struct):
    key: AtLeastOne
    module: str
    version: str
    inputs: list[_Array]
    outputs: list[str]
    id: str
    parameters: Parameters | None
    sequence: tuple[int | str, bool, bool] | None
    timeout_us: int
    many: bool
    parents: list[int]
    blocking: bool
    halting: bool
    trace: str = ""


class _Ask(Struct):
    key: AtLeastOne
    what: str
    arguments: dict[str, Any]


class _IsReady(Struct):
    name: str
    version: str


class _Load(Struct):
    name: str
    config: str
    files: list[str]


class _Unload(Struct):
    name: str
    unload_dependents: bool


_ASKED: dict[str, type[Struct]] = {"is_ready": _IsReady, "load": _Load, "unload": _Unload}
_ANSWERS: dict[str, dict[str, type[Struct] | None]] = {
    "infer": {"results": _Results},
    "ping": {"pong": None},
    "load": {"loaded": _Loaded, "failed": _Failed},
}
_SIDE: dict[str, type[Struct]] = {
    "response": _Response,
    "again": _Key,
    "taken": _Taken,
    "call": _Call,
    "ask": _Ask,
    "drop": _Key,
    "metrics": Metrics,
}


def check_answer(asked: dict[str, Any], header: dict[str, Any]) -> None:
    """Check the header of a frame that answers another one.

    Args:
        asked: the header of the answered frame.
        header: the received header.
    Raises:
        WireError: it does not answer that frame, or a field is invalid.
    """
    op = header.get("op")
    answers = _ANSWERS[asked["op"]]
    if not isinstance(op, str) or op not in answers:
        raise WireError(f"a frame of the form {_short(op)} answers one that expects {' or '.join(answers)}")
    checked = _convert(op, header, answers[op])
    if isinstance(checked, _Results):
        _check_results(asked, checked.results, _sizes(header))


def check_side_frame(header: dict[str, Any]) -> None:
    """Check the header of a frame of the second socket.

    Args:
        header: the received header.
    Raises:
        WireError: the frame is unknown, or a field is invalid.
    """
    op = header.get("op")
    if not isinstance(op, str) or op not in _SIDE:
        raise WireError(f"a frame of the unknown form {_short(op)} on the second socket")
    checked = _convert(op, header, _SIDE[op])
    if isinstance(checked, _Response) and checked.outputs is not UNSET:
        _check_arrays(checked.outputs, _sizes(header))
    elif isinstance(checked, _Call):
        _check_arrays(checked.inputs, _sizes(header))
    elif isinstance(checked, Metrics):
        check_families(checked)
    elif isinstance(checked, _Ask):
        if checked.what not in _ASKED:
            raise WireError(f"a frame asks for {_short(checked.what)}, which is unknown")
        asked = _convert(checked.what, checked.arguments, _ASKED[checked.what])
        if isinstance(asked, _Load) and len(asked.files) != len(header["buffers"]):
            raise WireError("a frame asks to load a model, but lacks files that it names")


def _convert(op: str, header: dict[str, Any], form: type[Struct] | None) -> Struct | None:
    if form is None:
        return None
    try:
        return msgspec.convert(header, form)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:  # a lone surrogate in an unexpected field
        raise WireError(f"a frame of the form '{op}' is malformed: {_short(error)}") from None


def _sizes(header: dict[str, Any]) -> list[int]:
    """Return the length of each buffer. Those in the arena must fit into the half that an instance uses for one answer."""
    sizes, in_arena = [], 0
    for place in header["buffers"]:
        if isinstance(place, int):
            sizes.append(place)
            continue
        offset, length = place
        in_arena += length
        if offset < REQUESTS_BYTES or in_arena > RESPONSE_BUFFER_BYTES:
            raise WireError("a frame's buffers lie outside of the shared memory for answers")
        sizes.append(length)
    return sizes


def _check_results(asked: dict[str, Any], results: list[_Result], sizes: list[int]) -> None:
    interfaces = [answer for _, answer in asked["merged"]["calls"]] if "merged" in asked else [_interface(call) for call in asked["calls"]]
    if len(results) != len(interfaces):
        raise WireError(f"a frame has {len(results)} results for {len(interfaces)} calls")
    for result, interface in zip(results, interfaces, strict=True):
        given = (result.json is not UNSET) + (result.outputs is not UNSET) + (result.error is not UNSET) + (result.later is not UNSET)
        if given != 1:
            raise WireError("a frame has a result that is not exactly one of json, outputs, error or later")
        if result.json is not UNSET:
            if interface != Interface.JSON or result.json >= len(sizes):
                raise WireError("a frame has a JSON result that was not requested, or that lacks its buffer")
        elif result.outputs is not UNSET:
            if interface != Interface.TENSORS:
                raise WireError("a frame has arrays instead of the requested JSON")
            _check_arrays(result.outputs, sizes)
        elif result.later is not UNSET and "together" not in asked:
            raise WireError("a frame defers a result, which its module cannot do")


def _interface(call: dict[str, Any]) -> str:
    """Return the interface of a call's answer; calls that are computed outside of batches are answered by JSON."""
    return Interface.JSON if "arguments" in call else call["answer"]


def _check_arrays(arrays: list[_Array], sizes: list[int]) -> None:
    for array in arrays:
        item_bytes = _ITEM_BYTES.get(array.dtype)
        if array.buffer >= len(sizes) or (item_bytes is None and array.dtype != BYTES):
            raise WireError(f"a frame describes the array {_short(array.name)} without its buffer, or of an unknown dtype")
        size, items = sizes[array.buffer], prod(array.shape)
        if items * _LENGTH_BYTES > size if item_bytes is None else items * item_bytes != size:
            raise WireError(
                f"a frame describes the array {_short(array.name)} as {array.dtype} {_short(array.shape)}, which does not fit {size} bytes"
            )


def _short(value: Any) -> str:
    return repr(value)[:100] if not isinstance(value, Exception) else str(value)[:200]
