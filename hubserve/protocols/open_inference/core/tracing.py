"""The protocol's trace settings, and what they bring about: every so many requests, one is told of in a file.

Each trace is an object ``{"id", "model_name", "model_version", "request_id", "timestamps": [{"name", "ns"}, ...]}``; ``ns`` is that of
``time.monotonic_ns``.
"""

import os
import re
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from hubserve.errors import ConfigError, InvalidInput, shown
from hubserve.gateway.dataplane import DataPlane
from hubserve.protocols.open_inference.core.trace_files import TraceFiles
from hubserve.settings import ServerSettings

_OFF, _TIMESTAMPS = "OFF", "TIMESTAMPS"
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_MODE = "triton"
#: the protocol's name of each place in a request's way
_PLACES = (
    ("begin", "REQUEST_START"),
    ("queued", "QUEUE_START"),
    ("begun", "COMPUTE_START"),
    ("computing", "COMPUTE_INPUT_END"),
    ("computed", "COMPUTE_OUTPUT_START"),
    ("answered", "COMPUTE_END"),
    ("end", "REQUEST_END"),
)
_UNTRACED: AbstractContextManager[None] = nullcontext()


@dataclass(slots=True)
class _Scope:
    """Settings of one model or of all, and what was counted under them."""

    values: dict[str, Any] = field(default_factory=dict)
    seen: int = 0
    left: int = -1


def _folder(path: str) -> Path:
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as error:
        raise ConfigError(f"'trace_dir' is '{path}', which is no path here: {error} Give the whole path of a folder.") from None


class Traces:
    """What is traced: for all models, and for those that have settings of their own.

    Args:
        settings: the server's; ``trace_dir`` says where files may be.
        dataplane: knows the models.
    Raises:
        ConfigError: ``trace_dir`` names the home of a user that does not exist.
    """

    def __init__(self, settings: ServerSettings, dataplane: DataPlane) -> None:
        self._dataplane = dataplane
        self._folder = _folder(settings.trace_dir) if settings.trace_dir else None
        self._files = TraceFiles(self._folder) if self._folder else None
        self._defaults: dict[str, Any] = {
            "trace_level": [_OFF],
            "trace_rate": 1000,
            "trace_count": -1,
            "log_frequency": 0,
            "trace_file": "trace.json" if self._folder else "",
        }
        self._all = _Scope(dict(self._defaults))
        self._models: dict[str, _Scope] = {}
        self._is_on = False
        self._number = 0
        self._written: dict[str, int] = {}

    def settings(self, model: str = "") -> dict[str, Any]:
        """``{"trace_level": [...], "trace_rate": "1000", ...}``; ``trace_count`` is how many are still to come.

        Raises:
            ModuleNotFound: the model is not served.
        """
        if model:
            self._dataplane.get(model)
        held = self._all.values | self._own(model)
        held["trace_count"] = self._counting(model).left
        return {name: value if name == "trace_level" else str(value) for name, value in held.items()} | {"trace_mode": _MODE}

    def update(self, model: str, changes: dict[str, Any]) -> dict[str, Any]:
        """Change some settings.

        Args:
            model: whose; "" for all that have none of their own.
            changes: name to text, number, or list of texts. None or an empty list takes a model's own away, and gives those of all models
                their first values back.
        Returns:
            What then holds; see :meth:`settings`.
        Raises:
            ModuleNotFound: the model is not served.
            InvalidInput: a setting is unknown or its value unusable; nothing has changed.
        """
        if model:
            self._dataplane.get(model)
        if not isinstance(changes, dict):
            raise InvalidInput(f"trace settings must be an object, got {type(changes).__name__}")
        checked = {name: self._check(name, value) for name, value in changes.items() if name != "trace_mode" or self._check_mode(value)}
        scope = self._models.get(model, _Scope()) if model else self._all
        values = scope.values | checked
        kept = {name: value for name, value in values.items() if value is not None}
        scope.values = kept if model else self._defaults | kept
        scope.seen = 0
        if "trace_count" in checked:
            scope.left = scope.values.get("trace_count", -1)
        if model:
            self._models[model] = scope
            if not kept:
                del self._models[model]
        self._is_on = any(_TIMESTAMPS in each.values.get("trace_level", ()) for each in (self._all, *self._models.values()))
        if self._files:
            self._files.write()
        return self.settings(model)

    def sample(self, model: str, version: str = "", request_id: str = "") -> AbstractContextManager[dict[str, int] | None]:
        """The trace of a request, as a ``with`` block around its answering; for most requests one that does nothing.

        Args:
            model: which answers.
            version: of it.
            request_id: the client's.
        Returns:
            A context that gives what is to be :attr:`hubserve.types.InferRequest.marks`: None where the request is not traced.
        """
        if not self._is_on or self._files is None:
            return _UNTRACED
        held = self._all.values | self._own(model)
        counting = self._counting(model)
        if _TIMESTAMPS not in held["trace_level"] or not counting.left:
            return _UNTRACED
        scope = self._models.get(model, self._all)
        scope.seen += 1
        if scope.seen % held["trace_rate"]:
            return _UNTRACED
        counting.left -= counting.left > 0
        self._number += 1
        told = {
            "id": self._number,
            "model_name": model,
            "model_version": int(version) if version.isdecimal() else version,
            "request_id": request_id,
        }
        return _Trace(self._files, self._file(held["trace_file"], held["log_frequency"]), told)

    def close(self) -> None:
        """Write what waits to be written."""
        if self._files:
            self._files.write()

    def _own(self, model: str) -> dict[str, Any]:
        scope = self._models.get(model)
        return scope.values if scope else {}

    def _counting(self, model: str) -> _Scope:
        """Whose ``left`` bounds a model's traces."""
        return self._models[model] if "trace_count" in self._own(model) else self._all

    def _file(self, name: str, log_frequency: int) -> str:
        """The file of the next trace; with ``log_frequency`` each so many are in one of their own."""
        if not log_frequency:
            return name
        number = self._written.get(name, 0)
        self._written[name] = number + 1
        return f"{name}.{number // log_frequency}"

    def _check(self, name: str, value: Any) -> Any:
        if name not in self._defaults:
            raise InvalidInput(f"there is no trace setting '{str(name)[:80]}'; there are {', '.join([*self._defaults, 'trace_mode'])}")
        if value is None or value == []:
            return None
        if name == "trace_level":
            return self._check_level(value)
        value = _single(name, value)
        if name == "trace_file":
            return self._check_file(value)
        return _check_number(name, value, {"trace_rate": 1, "trace_count": -1, "log_frequency": 0}[name])

    def _check_level(self, value: Any) -> list[str]:
        levels = [value] if isinstance(value, str) else value
        if not isinstance(levels, list) or not all(level in (_OFF, _TIMESTAMPS) for level in levels):
            raise InvalidInput(f"trace_level must be a list of {_OFF} or {_TIMESTAMPS}; nothing else is traced here. Got {shown(value)}")
        if _TIMESTAMPS not in levels:
            return [_OFF]
        self._require_folder("trace_level can only be OFF")
        return [_TIMESTAMPS]

    def _check_file(self, value: Any) -> str:
        if not value:
            return ""
        self._require_folder("trace file location can not be updated through network protocol")
        if not isinstance(value, str) or not _FILE_NAME.fullmatch(value):
            raise InvalidInput(
                "trace_file must be the name of a file in the server's trace_dir, of letters, digits, '.', '-' and '_', "
                f"got {shown(value)!r}"
            )
        return value

    def _require_folder(self, what: str) -> None:
        if self._folder is None:
            raise InvalidInput(
                f"{what}: this server's setting 'trace_dir' names no folder that traces may be written to. Set it and restart"
            )
        if not (self._folder.is_dir() and os.access(self._folder, os.W_OK)):
            raise InvalidInput(f"{what}: the server cannot write to its trace_dir. Make the folder, and let the server's user write to it")

    def _check_mode(self, value: Any) -> bool:
        if value not in (None, [], _MODE, [_MODE]):
            raise InvalidInput(f"trace_mode can not be updated; it is '{_MODE}', and no other is offered here")
        return False


class _Trace(AbstractContextManager[dict[str, int]]):
    """One request that is traced."""

    def __init__(self, files: TraceFiles, file: str, told: dict[str, Any]) -> None:
        self._files = files
        self._file = file
        self._told = told
        self._marks: dict[str, int] = {}

    def __enter__(self) -> dict[str, int]:
        self._marks["begin"] = time.monotonic_ns()
        return self._marks

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._marks["end"] = time.monotonic_ns()
        if error is not None:
            self._told["error"] = str(error) or type(error).__name__
        self._told["timestamps"] = [{"name": name, "ns": self._marks[place]} for place, name in _PLACES if place in self._marks]
        self._files.add(self._file, self._told)


def _single(name: str, value: Any) -> Any:
    """The only element of a list, as gRPC carries all values; or the value itself."""
    if not isinstance(value, list):
        return value
    if len(value) != 1:
        raise InvalidInput(f"{name} takes one value, got {len(value)}")
    return value[0]


def _check_number(name: str, value: Any, least: int) -> int:
    text = str(value).strip()
    if isinstance(value, bool) or not isinstance(value, int | str) or not re.fullmatch(r"-?[0-9]{1,18}", text) or int(text) < least:
        raise InvalidInput(f"{name} must be a whole number from {least} up, got {text[:40]!r}")
    return int(text)
