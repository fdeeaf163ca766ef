"""Keep the batch latencies of a module version in memory and on disk."""

import json
import logging
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from hubserve.gateway.scheduling.batch_key import ONE_BY_ONE
from hubserve.gateway.scheduling.batch_latency import BatchLatency
from hubserve.gateway.scheduling.concurrency import Concurrency

log = logging.getLogger("hubserve")

_MAX_KEYS = 64
_SCHEMA = 1
#: requests that are answered one by one, in one frame
_MAX_ONE_BY_ONE = 16


class LatencyStore:
    """Latencies of all batch keys of one module version, kept on disk from one run of the server to the next.

    Args:
        path: the file.
        about: what the latencies depend on; those of another engine, CPU or number of threads are not used.

    Attributes:
        limit: the most items in one call.
        concurrency: how many instances compute.
    """

    def __init__(self, path: Path, about: str) -> None:
        self.limit = 1
        self.concurrency = Concurrency()
        self._path = path
        self._about = about
        self._by_key: dict[Hashable, BatchLatency] = {}
        self._saved = ""

    def of(self, key: Hashable) -> BatchLatency:
        """Return the latency of a batch key."""
        latency = self._by_key.get(key)
        if latency is None:
            if len(self._by_key) >= _MAX_KEYS:  # sequence lengths can be many; a dropped key is learned again if it returns
                self._by_key.pop(next(iter(self._by_key)))
            one_by_one = key == ONE_BY_ONE
            latency = BatchLatency(_MAX_ONE_BY_ONE if one_by_one else self.limit, one_by_one=one_by_one)
            self._by_key[key] = latency
        return latency

    def lower_limit(self, limit: int) -> None:
        """Allow fewer items in one call from now on, for all batch keys."""
        self.limit = min(self.limit, limit)
        for latency in self._by_key.values():
            latency.lower_limit(self.limit)

    def is_empty(self) -> bool:
        """Return whether no latency is known."""
        return not any(latency.to_json() or latency.to_json(shared=True) for latency in self._by_key.values())

    def is_saved(self) -> bool:
        """Return whether there is a file to load."""
        return self._path.is_file()

    def to_json(self) -> list[dict[str, Any]]:
        """Return every batch key as ``form``, with its latencies in milliseconds: ``ms`` exclusive, ``shared_ms`` shared."""
        return [{"form": key, "ms": latency.to_json(), "shared_ms": latency.to_json(shared=True)} for key, latency in self._by_key.items()]

    def load(self) -> None:
        """Adopt the saved latencies; a missing, damaged or foreign file is ignored."""
        try:
            saved = json.loads(self._path.read_text("utf-8"))
            if saved["schema"] != _SCHEMA or saved["about"] != self._about:
                return
            for each in saved["times"]:
                latency = self.of(_hashable(each["form"]))
                for field in ("ms", "shared_ms"):
                    for items, ms in each.get(field, {}).items():
                        latency.adopt(int(items), float(ms) / 1e3, shared=field == "shared_ms")
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return

    def save(self) -> None:
        """Write the latencies if they have changed; a failure is only logged, because the file is only a help."""
        text = json.dumps({"schema": _SCHEMA, "about": self._about, "times": self.to_json()}, indent=1)
        if text == self._saved or self.is_empty():
            return
        self._saved = text
        partial = self._path.with_suffix(".partial")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(text, "utf-8")
            partial.replace(self._path)
        except OSError as error:
            log.warning("cannot save the learned batch latencies in '%s': %s", self._path, error.strerror or error)


def _hashable(value: Any) -> Any:
    return tuple(_hashable(each) for each in value) if isinstance(value, list) else value
