"""Requests as bytes, and how their answers are judged."""

import base64
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson


class Answer(NamedTuple):
    """An HTTP answer.

    Attributes:
        status: HTTP's.
        head: status line and headers.
        body: the content.
    """

    status: int
    head: bytes
    body: bytes


class Call(NamedTuple):
    """One request that can be sent any number of times.

    Attributes:
        raw: the whole of it, head and body.
        judge: says what is wrong with an answer; "" if it is right.
    """

    raw: bytes
    judge: Callable[[Answer], str]


def post(module: str, body: bytes, content_type: str = "application/json", headers: Sequence[str] = ()) -> bytes:
    """Return the bytes of ``POST /predict/<module>``."""
    lines = [
        f"POST /predict/{module} HTTP/1.1",
        "Host: 127.0.0.1",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def post_json(module: str, arguments: Any, headers: Sequence[str] = ()) -> bytes:
    """Return a request with JSON arguments."""
    return post(module, json.dumps(arguments).encode(), headers=headers)


def post_array(module: str, array: np.ndarray, headers: Sequence[str] = ()) -> bytes:
    """Return a request with an array in base64 JSON, under ``data`` and ``about``."""
    data = base64.b64encode(np.ascontiguousarray(array).data).decode()
    about = {"shape": list(array.shape), "dtype": array.dtype.name}
    return post_json(module, {"data": data, "about": about}, headers)


def post_octets(module: str, array: np.ndarray) -> bytes:
    """Return a request with an array's own bytes."""
    headers = [f"X-Hub-Shape: {','.join(map(str, array.shape))}", f"X-Hub-Dtype: {array.dtype.name}"]
    return post(module, array.tobytes(), "application/octet-stream", headers)


def expecting(is_right: Callable[[Any], bool]) -> Callable[[Answer], str]:
    """Return a check of successful answers by their results."""

    def judge(answer: Answer) -> str:
        if answer.status != 200:
            return f"HTTP {answer.status}"
        try:
            envelope = orjson.loads(answer.body)
            if envelope["status"] != "000":
                return f"refused: {envelope['msg']}"
            right = is_right(envelope["results"])
        except (ValueError, KeyError, TypeError, IndexError) as error:
            return f"the answer cannot be read: {error!r}"
        return "" if right else f"wrong answer: {str(envelope['results'])[:200]}"

    return judge
