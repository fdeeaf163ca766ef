"""Keys of queued requests: only requests with the same key are merged into one batch."""

from collections.abc import Hashable, Iterable
from typing import Any

#: the key of requests that a module answers one by one: they share a frame, never a call
ONE_BY_ONE = "one by one"
#: the key of JSON requests that a module computes together, whatever is in them
JSON_TOGETHER = "json"


def batch_key(arrays: Iterable[dict[str, Any]]) -> Hashable:
    """Return the batch key of a request: names, dtypes and shapes without the batch dimension, from the arrays' descriptions in a frame."""
    return tuple((each["name"], each["dtype"], *each["shape"][1:]) for each in arrays)
