"""What tests of the Open Inference Protocol have served, and requests for it."""

import contextlib
import json
import re
import socket
from pathlib import Path
from typing import Any

import numpy as np

from hubserve.protocols.open_inference.core.datatypes import DTYPE_OF, raw_from_array
from tests.conftest import MODULES, toy

#: one module each; the others differ from these in nothing but numpy's name for them
DATATYPES = ("BOOL", "UINT64", "INT8", "INT32", "FP16", "FP32", "FP64", "BF16", "BYTES")


def served_under(name: str, as_name: str, folder: Path, changes: dict[str, str] | None = None, **init_args: Any) -> dict[str, Any]:
    """The ``modules_info`` entry that serves a copy of a toy module under another name, with changes to its text."""
    copy = folder / as_name
    copy.mkdir()
    text = (MODULES / name / "module.py").read_text("utf-8")
    for old, new in {f'name="{name}"': f'name="{as_name}"', **(changes or {})}.items():
        assert old in text, old
        text = text.replace(old, new)
    (copy / "module.py").write_text(text, "utf-8")
    return {"init_args": {"directory": str(copy), **init_args}}


def modules(folder: Path) -> dict[str, Any]:
    """``modules_info``: toys of every form, and one for each of :data:`DATATYPES` that gives back its tensors."""
    found = {name: toy(name) for name in ("doubler", "shout", "sizes")}
    found |= {datatype: served_under("tensors", datatype, folder, dtype=DTYPE_OF[datatype]) for datatype in DATATYPES}
    found["shout"]["predict_args"] = {"text": "by default"}
    return {name: {**each, "workers": 1} for name, each in found.items()}


def texts(*elements: bytes) -> np.ndarray:
    """BYTES of one dimension."""
    array = np.empty(len(elements), object)
    array[:] = elements
    return array


def binary_request(inputs: list[tuple[str, str, np.ndarray]], **more: Any) -> tuple[bytes, dict[str, str]]:
    """The body and the headers of a request with binary tensors."""
    raws = [bytes(raw_from_array(array)) for _, _, array in inputs]
    about = [
        {"name": name, "datatype": datatype, "shape": list(array.shape), "parameters": {"binary_data_size": len(raw)}}
        for (name, datatype, array), raw in zip(inputs, raws, strict=True)
    ]
    head = json.dumps({"inputs": about, **more}).encode()
    return head + b"".join(raws), {"Inference-Header-Content-Length": str(len(head))}


def http_request(method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> bytes:
    """A whole request; the connection ends with its answer."""
    lines = [f"{method} {path} HTTP/1.1", "Host: here", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items()]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def exchange(port: int, request: bytes) -> bytes:
    """Send raw bytes to a server on this machine; the raw answer, without its date."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(request)
        answer = b""
        with contextlib.suppress(ConnectionError):
            while not is_whole(answer) and (part := connection.recv(1 << 16)):
                answer += part
    return re.sub(rb"date: [^\r]*\r\n", b"", answer, count=1)


def is_whole(answer: bytes) -> bool:
    """Whether an answer is complete; one whose length it does not tell is when the connection ends."""
    head, separator, body = answer.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100") and separator:
        return is_whole(body)
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    if length:
        return bool(separator) and len(body) >= int(length[1])
    return b"\r\ntransfer-encoding: chunked" in head and body.endswith(b"0\r\n\r\n")
