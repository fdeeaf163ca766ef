"""What tests of keys share: files of keys, and requests with them."""

from pathlib import Path
from typing import Any

import numpy as np

from hubserve.access.key_file import changing
from hubserve.access.keys import digest_of, new_key
from hubserve.access.stored_keys import make_key


def add_key(
    path: Path, name: str, modules: "tuple[str, ...]" = (), scopes: "tuple[str, ...]" = ("infer", "metadata"), **limits: Any
) -> str:
    """Add a key to a file; its text."""
    key_id, text = new_key()
    key = make_key(id=key_id, name=name, sha256=digest_of(text).hex(), modules=list(modules), scopes=list(scopes), **limits)
    with changing(path) as keys:
        keys.append(key)
    return text


def remove_keys(path: Path, name: str) -> None:
    """Remove the keys of a client."""
    with changing(path) as keys:
        keys[:] = [each for each in keys if each.name != name]


def bearer(text: str) -> "dict[str, str]":
    return {"Authorization": f"Bearer {text}"}


def tensors(module: Any, name: str = "x", datatype: str = "FP32", array: Any = None) -> list[Any]:
    """Make the inputs of a client of tritonclient: one tensor."""
    array = np.ones((1, 4), np.float32) if array is None else array
    sent = module.InferInput(name, list(array.shape), datatype)
    sent.set_data_from_numpy(array)
    return [sent]
