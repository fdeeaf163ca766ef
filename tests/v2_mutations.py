"""Requests that nobody would send on purpose, made of those that are on record."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2

from tests.v2 import http_request, served_under
from tests.v2 import modules as usual_modules
from tests.v2_requests import CASES

#: values that have broken servers
_ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, -(2**63), 1.5, -0.0, 1e308, float("nan"), float("inf"),
    "", "x", "y", "\0", "\ud800", "a" * 5000, "FP32", "BYTES", "INT8", [], {}, [[]], [None], [1, 2], [10**12, 1], [-1, 0], {"name": "x"},
    {"binary_data_size": 8}, {"classification": 3}, {"shared_memory_region": "a", "shared_memory_byte_size": 2**40},
)  # fmt: skip
_HEADERS = (
    b"Inference-Header-Content-Length: %d", b"Content-Encoding: gzip", b"Content-Encoding: deflate", b"Accept-Encoding: gzip",
    b"X-Hub-Timeout-Ms: %d", b"X-Hub-Priority: %d", b"Expect: 100-continue", b"Transfer-Encoding: chunked", b"Content-Length: %d",
)  # fmt: skip
#: levels of nesting around the bounds of hubserve, of Python's parser and of orjson's, and far beyond
_LEVELS = (16, 250, 498, 499, 500, 501, 990, 1000, 1023, 1024, 1100, 5000, 40_000)
#: marks where nested JSON is inserted, in a document or in a string of one
_PLACE = "@nested@"

_JSON = {"Content-Type": "application/json"}
#: requests of PaddleHub's protocol, to mutate like those of the golden folder
PREDICT_CASES: dict[str, bytes] = {
    f"predict_{name}_{number}": http_request("POST", f"/predict/{name}", json.dumps(body).encode(), _JSON)
    for name, bodies in {
        "shout": [{"text": "hello"}, {}, {"text": {"a": [1, {"b": "c"}]}}],
        "sizes": [{"first": 1, "second": [2]}, {"first": None}],
        "doubler": [
            {"data": "AACAPwAAAEA=", "about": {"shape": [1, 2], "dtype": "float32"}},
            {"data": "A" * 8000, "about": {"shape": [1]}},
        ],
    }.items()
    for number, body in enumerate(bodies)
}
ALL_CASES = {**CASES, **PREDICT_CASES}


def calm_modules(folder: Path) -> dict[str, Any]:
    """``modules_info`` as of the recorded requests, of modules that fail at nothing that they are sent."""
    calm = {
        "doubler": {"if np.isnan(x).any():": "if False:", "if np.isinf(x).any():": "if False:"},
        "shout": {"def shout(self, text):": "def shout(self, text='', **more):", "text.upper()": "str(text).upper()"},
        "sizes": {'def add(self, first, second, unit="px"):': "def add(self, **given):", 'f"{first + second} {unit}"': "given"},
    }
    changed = {name: {**served_under(name, name, folder, changes), "workers": 1} for name, changes in calm.items()}
    return usual_modules(folder) | changed


def mutated(random: Random, request: bytes) -> bytes:
    """A request with a few changes; the body's length may or may not be told right."""
    head, _, body = request.partition(b"\r\n\r\n")
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        if random.random() < 0.7:
            body = random.choice((_with_odd_value, _with_odd_value, _with_depth, _with_odd_bytes, _cut, _twice))(random, body)
        else:
            head = random.choice((_with_odd_header, _with_odd_bytes, _with_odd_path))(random, head)
    if random.random() < 0.9:
        head = re.sub(rb"(?i)(\r\nContent-Length: )\d+", rb"\g<1>%d" % len(body), head, count=1)
    return head + b"\r\n\r\n" + body


def whole_message(model: str) -> bytes:
    """A ``ModelInferRequest`` of the toy "tensors" for INT32, with a bit of everything."""
    numbers = np.ones((1, 2), np.int32)
    request = service_pb2.ModelInferRequest(model_name=model, id="7")
    for name in ("a", "b"):
        request.inputs.add(name=name, datatype="INT32", shape=numbers.shape)
        request.raw_input_contents.append(numbers.tobytes())
    request.outputs.add(name="a_again").parameters["classification"].int64_param = 2
    request.parameters["priority"].uint64_param = 1
    return bytes(request.SerializeToString())


def mutated_message(random: Random, model: str, json_models: Sequence[str] = ()) -> bytes:
    """Return the message with some bytes changed or the last ones missing; or a message with a deeply nested document.

    Args:
        random: makes the choices.
        model: a toy "tensors" for INT32.
        json_models: models that take JSON, to send the documents to.
    """
    if json_models and random.random() < 0.2:
        request = service_pb2.ModelInferRequest(model_name=random.choice(json_models))
        contents = request.inputs.add(name="arguments", datatype="BYTES", shape=[1]).contents
        contents.bytes_contents.append(f'{{"text":{_nested(random)}}}'.encode())
        return bytes(request.SerializeToString())
    message = bytearray(whole_message(model))
    for _ in range(random.randint(1, 3)):
        message[random.randrange(len(message))] = random.randrange(256)
    return bytes(message[: random.randrange(1, len(message))] if random.random() < 0.2 else message)


def is_complete(request: bytes) -> bool:
    """Whether a server need not wait for more of it."""
    head, separator, body = request.partition(b"\r\n\r\n")
    lengths = re.findall(rb"(?im)^content-length:[ \t]*(\d{1,18})[ \t]*\r?$", head)
    chunked = re.search(rb"(?im)^transfer-encoding:", head)
    return bool(separator) and not chunked and len(lengths) == 1 and int(lengths[0]) == len(body)


def _with_odd_value(random: Random, body: bytes) -> bytes:
    """Somewhere in its JSON another value, or a key more or less."""
    return _with_value(random, body, random.choice(_ODD), 0.2)


def _with_depth(random: Random, body: bytes) -> bytes:
    """Insert deeply nested JSON somewhere in the body's JSON, or in a string of it."""
    value = random.choice((_PLACE, _PLACE, f'{{"text":{_PLACE}}}'))
    changed, nested = _with_value(random, body, value, 0.0), _nested(random)
    whole, inside = f'"{_PLACE}"'.encode(), _PLACE.encode()
    return changed.replace(whole, nested.encode()) if value == _PLACE else changed.replace(inside, json.dumps(nested)[1:-1].encode())


def _nested(random: Random) -> str:
    levels = random.choice(_LEVELS)
    opening, closing = random.choice((("[", "]"), ('{"a":', "}"), ('[1,"[",{"b":', "}]"), (" [\n", "]")))
    return opening * levels + random.choice(("1", "", "NaN")) + closing * (levels - random.choice((0, 0, 0, 1)))


def _with_value(random: Random, body: bytes, value: Any, share_without: float) -> bytes:
    try:
        document, end = json.JSONDecoder().raw_decode(body.decode("latin-1"))
    except (ValueError, RecursionError):
        return _with_odd_bytes(random, body)
    places: list[tuple[Any, Any]] = []
    waiting = [document]
    while waiting:
        each = waiting.pop()
        keys = list(each) if isinstance(each, dict) else range(len(each)) if isinstance(each, list) else ()
        places += [(each, key) for key in keys]
        waiting += [each[key] for key in keys]
    if not places:
        return json.dumps(value).encode() + body[end:]
    container, key = random.choice(places)
    if random.random() < share_without:
        del container[key]
    else:
        container[key] = value
    return _dumped(document) + body[end:]


def _dumped(document: Any) -> bytes:
    try:
        return json.dumps(document).encode()
    except RecursionError:  # JSON inserted earlier is nested deeper than this encoder allows
        return b"[" * max(_LEVELS)


def _with_odd_bytes(random: Random, data: bytes) -> bytes:
    changed = bytearray(data or b"\0")
    for _ in range(random.randint(1, 4)):
        changed[random.randrange(len(changed))] = random.choice((0, 9, 10, 13, 32, 34, 48, 255, random.randrange(256)))
    return bytes(changed)


def _cut(random: Random, data: bytes) -> bytes:
    return data[: random.randrange(len(data) + 1)]


def _twice(random: Random, data: bytes) -> bytes:
    start = random.randrange(len(data) + 1)
    return data[:start] + data[random.randrange(start + 1) :]


def _with_odd_header(random: Random, head: bytes) -> bytes:
    header = random.choice(_HEADERS)
    if b"%d" in header:
        header %= random.choice((0, 1, 50, 100, -1, 2**31, 2**63))
    return head + b"\r\n" + header


def _with_odd_path(random: Random, head: bytes) -> bytes:
    method, _, rest = head.partition(b" ")
    path, _, more = rest.partition(b" ")
    parts = path.split(b"/")
    parts[random.randrange(len(parts))] = random.choice((b"", b"%2f", b"%00", b"..", b"v2", b"models", b"%ff", b"a" * 3000, b"infer", b"1"))
    return method + b" " + b"/".join(parts) + b" " + more
