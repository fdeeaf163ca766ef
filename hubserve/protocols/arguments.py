"""Read the JSON arguments of a module's serving method, where they came from whatever protocol."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pybase64

from hubserve.errors import InvalidInput
from hubserve.module import JsonArray, check_about, decode_base64
from hubserve.protocols.base64_values import split_large_text
from hubserve.protocols.decoders import Decoders
from hubserve.protocols.documents import JsonBounds, is_light, json_type, parse_json
from hubserve.types import array_from_bytes
from hubserve.wire.frames import Frame, pack_arrays, unpack_arrays

#: so much base64 is decoded before others get their turn: a multiple of four characters
_STEP_CHARS = 1 << 20
_IN_DECODER = "hubserve.protocols.arguments:decode"
_ARRAY = "array"


class Arguments(NamedTuple):
    """Parsed contents of a document.

    Attributes:
        text: the JSON object to give to the module, any bytes-like object.
        array: that the module takes in place of the object, if it was sent.
        pictures: encoded ones that the module takes in place of the object, if they were sent.
        found: what the document is instead of an object, in words; "" if it is an object.
    """

    text: Any
    array: np.ndarray | None = None
    found: str = ""
    pictures: list[Any] | None = None


class Places(NamedTuple):
    """The places of a document for input that is computed as a batch rather than given to the serving method.

    Attributes:
        array: the keys of an array.
        pictures: the key of pictures; "" for none.
    """

    array: JsonArray | None = None
    pictures: str = ""


_NO_PLACES = Places()


class ArgumentReader:
    """Reads them: small documents at once, large ones in a process that decodes for the gateway.

    Args:
        decoders: those processes.
        bounds: of a document.

    Attributes:
        bounds: those.
    """

    def __init__(self, decoders: Decoders, bounds: JsonBounds) -> None:
        self._decoders = decoders
        self.bounds = bounds

    async def read(
        self, text: Any, what: str, predict_args: Mapping[str, Any], places: Places = _NO_PLACES, *, any_encoding: bool = False
    ) -> Arguments:
        """Check a document, and lay it over the arguments that the server's configuration gives.

        Args:
            text: any bytes-like object.
            what: it is, for messages.
            predict_args: the configuration's.
            places: of what the module takes in place of an object, if it does.
            any_encoding: see :func:`hubserve.protocols.documents.parse_json`.
        Raises:
            NotJson: it is not JSON, or nested too deep.
            TooLarge: it holds too many values.
            InvalidInput: the array or the pictures in it cannot be used.
        """
        places = _NO_PLACES if predict_args else places
        found = await self._read_large_text(text, places)
        if found is not None:
            return found
        if is_light(text):
            return _read(text, what, self.bounds, predict_args, places, any_encoding)
        arguments = {"what": what, "bounds": self.bounds, "predict_args": predict_args, "places": places, "any_encoding": any_encoding}
        frame = await self._decoders.call(_IN_DECODER, arguments, [text], lambda frame: frame)
        return _from_frame(frame, text)

    async def _read_large_text(self, text: Any, places: Places) -> Arguments | None:
        """Read a document of one large base64 text without parsing that; None if it is another one, or not strict base64."""
        where, key = places.array, places.array.data if places.array else places.pictures
        split = split_large_text(text, key, self.bounds) if key else None
        if split is None:
            return None
        if where is not None and split.keys() == set(where):
            check_about(split[where.about])
            raw = await _decode_base64(split[where.data])
            return None if raw is None else Arguments(text, _array(split, where, raw))
        if split.keys() == {places.pictures}:
            raw = await _decode_base64(split[places.pictures])
            return None if raw is None else Arguments(text, pictures=[raw])
        return None


def _read(text: Any, what: str, bounds: JsonBounds, predict_args: Mapping[str, Any], places: Places, any_encoding: bool) -> Arguments:
    arguments = parse_json(text, what, bounds, any_encoding=any_encoding)
    if not isinstance(arguments, dict):
        return Arguments(text, found=json_type(arguments))
    where = places.array
    if where is not None and arguments.keys() == set(where):
        check_about(arguments[where.about])
        if not isinstance(arguments[where.data], str):
            raise InvalidInput(f"'{where.data}' must be base64 text of an array's bytes, got {json_type(arguments[where.data])}")
        return Arguments(text, _array(arguments, where, _raw(arguments[where.data], f"'{where.data}'")))
    if arguments.keys() == {places.pictures}:
        return Arguments(text, pictures=_pictures(arguments[places.pictures], places.pictures))
    if predict_args:
        exact = json.loads(bytes(text))  # orjson makes floats of integers beyond 64 bits
        return Arguments(json.dumps({**predict_args, **exact}, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return Arguments(text)


def _array(arguments: Mapping[str, Any], where: JsonArray, raw: Any) -> np.ndarray:
    about = arguments[where.about]
    return array_from_bytes(raw, about["dtype"], about["shape"])


def _pictures(sent: Any, key: str) -> list[bytes]:
    """Return encoded pictures of one base64 text, or a list of such."""
    listed = sent if isinstance(sent, list) else [sent]
    if not listed or not set(map(type, listed)) <= {str}:
        wrong = next((each for each in listed if not isinstance(each, str)), None) if listed else "an empty list"
        got = wrong if isinstance(wrong, str) else ("a list with " if isinstance(sent, list) else "") + json_type(wrong)
        raise InvalidInput(f"'{key}' must be base64 text of a picture (PNG, JPEG, ...), or a list of such texts, got {got}")
    places = (f"'{key}'" if len(listed) == 1 else f"'{key}', picture {number} of {len(listed)}," for number in range(1, len(listed) + 1))
    return [_raw(text, place) for text, place in zip(listed, places, strict=True)]


def _strict(text: Any) -> bytes | None:
    try:
        # validate=True also selects the vectorised decoder
        return pybase64.b64decode(text, validate=True)
    except ValueError:
        return None


def _raw(text: Any, what: str) -> bytes:
    decoded = _strict(text)
    if decoded is not None:
        return decoded
    try:
        return decode_base64(text)
    except ValueError as error:
        raise InvalidInput(f"{what} is not valid base64: {error}") from None


async def _decode_base64(text: memoryview) -> Any:
    """Decode a large text in steps; None if it is not strict base64, which says nothing about other spellings."""
    if len(text) <= _STEP_CHARS:
        return _strict(text)
    raw = np.empty(len(text) // 4 * 3, np.uint8).data  # unlike a bytearray, not zeroed first
    filled = 0
    for start in range(0, len(text), _STEP_CHARS):
        step = _strict(text[start : start + _STEP_CHARS])
        if step is None or (len(step) != _STEP_CHARS // 4 * 3 and start + _STEP_CHARS < len(text)):
            return None
        raw[filled : filled + len(step)] = step
        filled += len(step)
        await asyncio.sleep(0)
    return raw[:filled]


# --- between the gateway and a process that decodes ---


def decode(arguments: dict[str, Any], buffers: list[memoryview]) -> tuple[dict[str, Any], list[Any]]:
    """Do what :meth:`ArgumentReader.read` says, in a process that decodes."""
    array, pictures = arguments["places"]
    places = Places(array and JsonArray(*array), pictures)
    bounds = JsonBounds(*arguments["bounds"])
    read = _read(buffers[0], arguments["what"], bounds, arguments["predict_args"], places, arguments["any_encoding"])
    if read.pictures is not None:
        return {"pictures": len(read.pictures)}, read.pictures
    if read.array is not None:
        packed: list[Any] = []
        return {"inputs": pack_arrays({_ARRAY: read.array}, packed)}, packed
    return {"found": read.found}, [] if read.text is buffers[0] else [read.text]


def _from_frame(frame: Frame, text: Any) -> Arguments:
    if "inputs" in frame.header:
        return Arguments(text, unpack_arrays(frame.header["inputs"], frame.buffers)[_ARRAY])
    if "pictures" in frame.header:
        return Arguments(text, pictures=list(frame.buffers))
    return Arguments(frame.buffers[0] if frame.buffers else text, found=frame.header["found"])
