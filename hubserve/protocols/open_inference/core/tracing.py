"""Trace a sample of the requests, as the protocol's trace settings say: to files, or as spans of the server's OTLP endpoint.

Each trace in a file is an object ``{"id", "model_name", "model_version", "request_id", "timestamps": [{"name", "ns"}, ...]}``; ``ns``
is on the clock of ``time.monotonic_ns``.
"""

import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from hubserve.gateway.visible_models import Models
from hubserve.protocols.open_inference.core.trace_files import TraceFiles
from hubserve.protocols.open_inference.core.trace_settings import (
    FILES,
    SPANS,
    TIMESTAMPS,
    check_changes,
    check_mode,
    default_settings,
    trace_folder,
)
from hubserve.settings import ServerSettings
from hubserve.telemetry.request_record import CURRENT
from hubserve.telemetry.traces import Traces

#: key of :attr:`hubserve.types.InferRequest.marks` -> the protocol's name of that timestamp
_TIMESTAMP_NAMES = (
    ("begin", "REQUEST_START"),
    ("queued", "QUEUE_START"),
    ("begun", "COMPUTE_START"),
    ("computing", "COMPUTE_INPUT_END"),
    ("computed", "COMPUTE_OUTPUT_START"),
    ("answered", "COMPUTE_END"),
    ("end", "REQUEST_END"),
)
_NOT_TRACED: AbstractContextManager[None] = nullcontext()


@dataclass(slots=True)
class _Scope:
    """Settings of one model or of all, with the counters of their requests.

    Attributes:
        values: the settings; of a model only its own.
        seen: requests since the last change.
        left: traces still to come; -1 for no limit.
    """

    values: dict[str, Any] = field(default_factory=dict)
    seen: int = 0
    left: int = -1


class Tracer:
    """Trace settings for all models and for single ones, and the traces that they cause.

    Args:
        settings: the server's; ``trace_dir`` is the folder of the files.
        dataplane: the served modules.
        traces: makes spans; None if the server has no endpoint for them.
    Raises:
        ConfigError: ``trace_dir`` names the home of a user that does not exist.
    """

    def __init__(self, settings: ServerSettings, dataplane: Models, traces: Traces | None = None) -> None:
        self._dataplane = dataplane
        self._traces = traces
        self._folder = trace_folder(settings.trace_dir)
        self._files = TraceFiles(self._folder) if self._folder else None
        self._modes = [FILES] if self._folder or traces is None else []
        if traces is not None:
            self._modes.append(SPANS)
        self._mode = self._modes[0]
        self._defaults = default_settings(self._folder)
        self._all = _Scope(dict(self._defaults))
        self._models: dict[str, _Scope] = {}
        self._is_on = False
        self._last_id = 0
        self._traces_of_file: dict[str, int] = {}

    def settings(self, model: str = "") -> dict[str, Any]:
        """Return ``{"trace_level": [...], "trace_rate": "1000", ...}``; ``trace_count`` is the number of traces still to come.

        Raises:
            ModuleNotFound: the model is not served.
        """
        if model:
            self._dataplane.get(model)
        values = self._values(model)
        values["trace_count"] = self._counting_scope(model).left
        return {name: value if name == "trace_level" else str(value) for name, value in values.items()} | {"trace_mode": self._mode}

    def update(self, model: str, changes: dict[str, Any]) -> dict[str, Any]:
        """Change some settings.

        Args:
            model: its name; "" for all models without settings of their own.
            changes: name to text, number, or list of texts. None or an empty list removes a model's own setting, and resets one of all
                models to its default.
        Returns:
            The settings afterwards; see :meth:`settings`.
        Raises:
            ModuleNotFound: the model is not served.
            InvalidInput: a setting is unknown or its value unusable; nothing is changed.
        """
        if model:
            self._dataplane.get(model)
        mode = self._mode
        if isinstance(changes, dict) and "trace_mode" in changes:
            wanted = check_mode(changes["trace_mode"], self._modes, model)
            mode = self._mode if model else wanted
        checked = check_changes(changes, self._folder, mode)
        self._mode = mode
        scope = self._models.get(model, _Scope()) if model else self._all
        kept = {name: value for name, value in (scope.values | checked).items() if value is not None}
        scope.values = kept if model else self._defaults | kept
        scope.seen = 0
        if "trace_count" in checked:
            scope.left = scope.values.get("trace_count", -1)
        if model:
            self._models[model] = scope
            if not kept:
                del self._models[model]
        self._is_on = any(TIMESTAMPS in each.values.get("trace_level", ()) for each in (self._all, *self._models.values()))
        if self._files:
            self._files.write()
        return self.settings(model)

    def sample(self, model: str, version: str = "", request_id: str = "") -> AbstractContextManager[dict[str, float] | None]:
        """Return a ``with`` block to put around the answering of a request, which writes a trace of every n-th.

        Args:
            model: the served name.
            version: of the model.
            request_id: the client's.
        Returns:
            A context manager that gives the value for :attr:`hubserve.types.InferRequest.marks`: None if the request is not traced.
        """
        if not self._is_on:
            return _NOT_TRACED
        values = self._values(model)
        counting = self._counting_scope(model)
        if TIMESTAMPS not in values["trace_level"] or not counting.left:
            return _NOT_TRACED
        scope = self._models.get(model, self._all)
        scope.seen += 1
        if scope.seen % values["trace_rate"]:
            return _NOT_TRACED
        counting.left -= counting.left > 0
        if self._mode == SPANS or self._files is None:
            record = CURRENT.get()
            if record is not None and self._traces is not None:
                self._traces.force(record)
            return _NOT_TRACED
        self._last_id += 1
        trace = {
            "id": self._last_id,
            "model_name": model,
            "model_version": int(version) if version.isdecimal() else version,
            "request_id": request_id,
        }
        return _Trace(self._files, self._next_file(values["trace_file"], values["log_frequency"]), trace)

    def close(self) -> None:
        """Write the traces that are still buffered."""
        if self._files:
            self._files.write()

    def _values(self, model: str) -> dict[str, Any]:
        """Return a new dict of the settings in effect for a model; "" for all."""
        scope = self._models.get(model)
        return self._all.values | (scope.values if scope else {})

    def _counting_scope(self, model: str) -> _Scope:
        """Return the scope whose ``left`` limits a model's traces."""
        scope = self._models.get(model)
        return scope if scope and "trace_count" in scope.values else self._all

    def _next_file(self, name: str, log_frequency: int) -> str:
        """Return the file of the next trace; with ``log_frequency`` a new file begins after that many traces."""
        if not log_frequency:
            return name
        number = self._traces_of_file.get(name, 0)
        self._traces_of_file[name] = number + 1
        return f"{name}.{number // log_frequency}"


class _Trace(AbstractContextManager[dict[str, float]]):
    """One traced request: collects its timestamps and writes them at the end of the ``with`` block."""

    def __init__(self, files: TraceFiles, file: str, trace: dict[str, Any]) -> None:
        self._files = files
        self._file = file
        self._trace = trace
        self._marks: dict[str, float] = {}

    def __enter__(self) -> dict[str, float]:
        self._marks["begin"] = time.monotonic()
        return self._marks

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._marks["end"] = time.monotonic()
        if error is not None:
            self._trace["error"] = str(error) or type(error).__name__
        self._trace["timestamps"] = [
            {"name": name, "ns": int(self._marks[mark] * 1e9)} for mark, name in _TIMESTAMP_NAMES if mark in self._marks
        ]
        self._files.add(self._file, self._trace)
