"""Keeps the batch latencies of a module version, in memory and on disk."""

import json
import logging
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from hubserve.gateway.scheduling.batch_key import ONE_BY_ONE
from hubserve.gateway.scheduling.batch_latency import BatchLatency
from hubserve.gateway.scheduling.concurrency import Concurrency

log = logging.getLogger("hubserve")

_MAX_FORMS = 64
_SCHEMA = 1
_MOST_TRAVEL_TOGETHER = 16


class LatencyStore:
    """The times of all forms of item of one module version, kept on disk from one start of the server to the next.

    Args:
        path: the file.
        about: what the times depend on: those of another engine, CPU or number of threads are not used.

    Attributes:
        limit: the most items in one call.
        concurrency: how many instances compute.
    """

    def __init__(self, path: Path, about: str) -> None:
        self.limit = 1
        self.concurrency = Concurrency()
        self._path = path
        self._about = about
        self._forms: dict[Hashable, BatchLatency] = {}
        self._saved = ""

    def of(self, form: Hashable) -> BatchLatency:
        """The times of a form of item."""
        times = self._forms.get(form)
        if times is None:
            if len(self._forms) >= _MAX_FORMS:  # sequence lengths can be many; the oldest form is learned again if it comes back
                self._forms.pop(next(iter(self._forms)))
            one_by_one = form == ONE_BY_ONE
            times = BatchLatency(_MOST_TRAVEL_TOGETHER if one_by_one else self.limit, one_by_one=one_by_one)
            self._forms[form] = times
        return times

    def lower_limit(self, limit: int) -> None:
        """Allow fewer items in one call from now on, for all forms."""
        self.limit = min(self.limit, limit)
        for times in self._forms.values():
            times.lower_limit(self.limit)

    def is_empty(self) -> bool:
        """Whether nothing is known."""
        return not any(times.to_json() or times.to_json(shared=True) for times in self._forms.values())

    def is_saved(self) -> bool:
        """Whether there is a file to load."""
        return self._path.is_file()

    def to_json(self) -> list[dict[str, Any]]:
        """Return every form with its times in milliseconds: ``ms`` alone, ``shared_ms`` while other instances computed."""
        return [{"form": form, "ms": times.to_json(), "shared_ms": times.to_json(shared=True)} for form, times in self._forms.items()]

    def load(self) -> None:
        """Take over what was saved; a missing, damaged or foreign file leaves the book empty."""
        try:
            saved = json.loads(self._path.read_text("utf-8"))
            if saved["schema"] != _SCHEMA or saved["about"] != self._about:
                return
            for each in saved["times"]:
                times = self.of(_hashable(each["form"]))
                for key in ("ms", "shared_ms"):
                    for items, ms in each.get(key, {}).items():
                        times.believe(int(items), float(ms) / 1e3, shared=key == "shared_ms")
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return

    def save(self) -> None:
        """Write what is known, if it has changed; it is only a help, so failing to write it is only logged."""
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
            log.warning("what was learned about batches cannot be kept in '%s': %s", self._path, error.strerror or error)


def _hashable(value: Any) -> Any:
    return tuple(_hashable(each) for each in value) if isinstance(value, list) else value
