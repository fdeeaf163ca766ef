"""Read the JSON arguments of a module's serving method, whatever protocol carries them."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from hubserve.errors import InvalidInput
from hubserve.module import JsonArray, check_about
from hubserve.protocols.base64_values import decode_large_value, decode_value, split_large_value
from hubserve.protocols.decoders import Decoders
from hubserve.protocols.documents import JsonBounds, is_light, json_type, parse_json
from hubserve.types import array_from_bytes
from hubserve.wire.frames import Frame, pack_arrays, unpack_arrays

_ARRAY = "array"


class Arguments(NamedTuple):
    """Parsed contents of a document.

    Attributes:
        text: the JSON object for the module, any bytes-like object.
        array: sent in place of the object, if the module accepts that.
        found: what the document is if it is not an object, in words; else "".
        pictures: encoded pictures sent in place of the object, if the module accepts that.
    """

    text: Any
    array: np.ndarray | None = None
    found: str = ""
    pictures: list[Any] | None = None


class BatchKeys(NamedTuple):
    """Keys of a document whose values are computed as a batch rather than passed to the serving method.

    Attributes:
        array: the keys of an array.
        pictures: the key of pictures; "" for none.
    """

    array: JsonArray | None = None
    pictures: str = ""


_NO_KEYS = BatchKeys()


class ArgumentReader:
    """Reader of documents: small ones on the event loop, large ones in a decoder process.

    Args:
        decoders: the decoder processes.
        bounds: limits of a document.

    Attributes:
        bounds: limits of a document.
    """

    def __init__(self, decoders: Decoders, bounds: JsonBounds) -> None:
        self._decoders = decoders
        self.bounds = bounds

    async def read(
        self, text: Any, what: str, predict_args: Mapping[str, Any], keys: BatchKeys = _NO_KEYS, *, any_encoding: bool = False
    ) -> Arguments:
        """Check a document, and add the arguments of the server's configuration that it does not override.

        Args:
            text: any bytes-like object.
            what: it is, for messages.
            predict_args: the configuration's.
            keys: of batch input, if the module accepts that.
            any_encoding: see :func:`hubserve.protocols.documents.parse_json`.
        Raises:
            NotJson: it is not JSON, or nested too deep.
            TooLarge: it holds too many values.
            InvalidInput: the array or the pictures in it are invalid.
        """
        keys = _NO_KEYS if predict_args else keys
        arguments = await self._read_large_value(text, keys)
        if arguments is not None:
            return arguments
        if is_light(text):
            return _read(text, what, self.bounds, predict_args, keys, any_encoding)
        job = {"what": what, "bounds": self.bounds, "predict_args": predict_args, "keys": keys, "any_encoding": any_encoding}
        frame = await self._decoders.call(f"{__name__}:decode", job, [text], lambda frame: frame)
        return _from_frame(frame, text)

    async def _read_large_value(self, text: Any, keys: BatchKeys) -> Arguments | None:
        """Read a document of one large base64 value without parsing that; None if the document has another form."""
        key = keys.array.data if keys.array else keys.pictures
        document = split_large_value(text, key, self.bounds) if key else None
        if document is None:
            return None
        if keys.array is not None and document.keys() == set(keys.array):
            check_about(document[keys.array.about])
            raw = await decode_large_value(document[keys.array.data])
            return None if raw is None else Arguments(text, _array(document, keys.array, raw))
        if document.keys() == {keys.pictures}:
            raw = await decode_large_value(document[keys.pictures])
            return None if raw is None else Arguments(text, pictures=[raw])
        return None


def _read(text: Any, what: str, bounds: JsonBounds, predict_args: Mapping[str, Any], keys: BatchKeys, any_encoding: bool) -> Arguments:
    document = parse_json(text, what, bounds, any_encoding=any_encoding)
    if not isinstance(document, dict):
        return Arguments(text, found=json_type(document))
    if keys.array is not None and document.keys() == set(keys.array):
        check_about(document[keys.array.about])
        data = document[keys.array.data]
        if not isinstance(data, str):
            raise InvalidInput(f"'{keys.array.data}' must be base64 text of an array's bytes, got {json_type(data)}")
        return Arguments(text, _array(document, keys.array, decode_value(data, f"'{keys.array.data}'")))
    if document.keys() == {keys.pictures}:
        return Arguments(text, pictures=_pictures(document[keys.pictures], keys.pictures))
    if predict_args:
        exact = json.loads(bytes(text))  # orjson turns integers beyond 64 bits into floats
        return Arguments(json.dumps({**predict_args, **exact}, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    return Arguments(text)


def _array(document: Mapping[str, Any], keys: JsonArray, raw: Any) -> np.ndarray:
    about = document[keys.about]
    return array_from_bytes(raw, about["dtype"], about["shape"])


def _pictures(sent: Any, key: str) -> list[bytes]:
    """Return encoded pictures from one base64 text, or a list of them."""
    texts = sent if isinstance(sent, list) else [sent]
    if not texts or not set(map(type, texts)) <= {str}:
        wrong = next((each for each in texts if not isinstance(each, str)), None) if texts else "an empty list"
        got = wrong if isinstance(wrong, str) else ("a list with " if isinstance(sent, list) else "") + json_type(wrong)
        raise InvalidInput(f"'{key}' must be base64 text of a picture (PNG, JPEG, ...), or a list of such texts, got {got}")
    names = (f"'{key}'" if len(texts) == 1 else f"'{key}', picture {number} of {len(texts)}," for number in range(1, len(texts) + 1))
    return [decode_value(text, name) for text, name in zip(texts, names, strict=True)]


# --- between the gateway and a decoder process ---


def decode(arguments: dict[str, Any], buffers: list[memoryview]) -> tuple[dict[str, Any], list[Any]]:
    """Do the work of :meth:`ArgumentReader.read` in a decoder process."""
    array, pictures = arguments["keys"]
    keys = BatchKeys(array and JsonArray(*array), pictures)
    bounds = JsonBounds(*arguments["bounds"])
    read = _read(buffers[0], arguments["what"], bounds, arguments["predict_args"], keys, arguments["any_encoding"])
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
