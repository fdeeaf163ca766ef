"""Check the trace settings that clients send."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hubserve.errors import ConfigError, InvalidInput, shown

OFF, TIMESTAMPS = "OFF", "TIMESTAMPS"
#: where traces go: files, as the protocol describes them, or the spans of an OTLP endpoint
FILES, SPANS = "triton", "opentelemetry"
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_LEAST = {"trace_rate": 1, "trace_count": -1, "log_frequency": 0}


def trace_folder(path: str) -> Path | None:
    """Return the folder of the setting ``trace_dir``, or None if it is empty.

    Raises:
        ConfigError: it names the home of a user that does not exist.
    """
    try:
        return Path(path).expanduser().absolute() if path else None
    except RuntimeError as error:
        raise ConfigError(f"'trace_dir' is '{path}', which is not a path here: {error} Give an absolute path.") from None


def default_settings(folder: Path | None) -> dict[str, Any]:
    """Return the settings of a server that no client has changed."""
    return {
        "trace_level": [OFF],
        "trace_rate": 1000,
        "trace_count": -1,
        "log_frequency": 0,
        "trace_file": "trace.json" if folder else "",
    }


def check_changes(changes: Any, folder: Path | None, mode: str) -> dict[str, Any]:
    """Return changes of settings with checked and converted values; None resets a setting.

    Args:
        changes: name to text, number, or list of texts; None or an empty list resets a setting.
        folder: traces are written to it; None if there is none.
        mode: ``trace_mode`` after the changes, which :func:`check_mode` checks.
    Raises:
        InvalidInput: a setting is unknown or its value unusable.
    """
    if not isinstance(changes, dict):
        raise InvalidInput(f"trace settings must be an object, got {type(changes).__name__}")
    return {name: _check(name, value, folder, mode) for name, value in changes.items() if name != "trace_mode"}


def _check(name: str, value: Any, folder: Path | None, mode: str) -> Any:
    known = default_settings(folder)
    if name not in known:
        raise InvalidInput(f"there is no trace setting '{str(name)[:80]}'; there are {', '.join([*known, 'trace_mode'])}")
    if value is None or value == []:
        return None
    if name == "trace_level":
        return _check_level(value, folder, mode)
    value = _single(name, value)
    if name == "trace_file":
        return _check_file(value, folder)
    return _check_number(name, value, _LEAST[name])


def check_mode(value: Any, modes: Sequence[str], model: str) -> str:
    """Return the mode that a change of ``trace_mode`` asks for.

    Args:
        value: a mode; None or an empty list for the first one.
        modes: that the server's settings allow, the default one first.
        model: whose settings are changed; "" for those of all, and the mode is one for all.
    Raises:
        InvalidInput: it is not among them, or is asked for one model.
    """
    if model and value not in (None, []):
        raise InvalidInput("trace_mode can not be updated for one model; change it without naming a model")
    mode = value[0] if isinstance(value, list) and len(value) == 1 else value or modes[0]
    if mode not in modes:
        raise InvalidInput(
            f"trace_mode can not be updated to {shown(value)}: this server offers {' and '.join(map(repr, modes))}. '{FILES}' needs the "
            f"setting 'trace_dir', '{SPANS}' the setting 'trace_endpoint'"
        )
    return str(mode)


def _check_level(value: Any, folder: Path | None, mode: str) -> list[str]:
    levels = [value] if isinstance(value, str) else value
    if not isinstance(levels, list) or not all(level in (OFF, TIMESTAMPS) for level in levels):
        raise InvalidInput(f"trace_level must be a list of {OFF} or {TIMESTAMPS}; nothing else is traced here. Got {shown(value)}")
    if TIMESTAMPS not in levels:
        return [OFF]
    if mode == FILES:
        _require_folder("trace_level can only be OFF", folder)
    return [TIMESTAMPS]


def _check_file(value: Any, folder: Path | None) -> str:
    if not value:
        return ""
    _require_folder("trace file location can not be updated through network protocol", folder)
    if not isinstance(value, str) or not _FILE_NAME.fullmatch(value):
        raise InvalidInput(
            f"trace_file must be the name of a file in the server's trace_dir, of letters, digits, '.', '-' and '_', got {shown(value)!r}"
        )
    return value


def _require_folder(what: str, folder: Path | None) -> None:
    if folder is None:
        raise InvalidInput(f"{what}: this server's setting 'trace_dir' names no folder that traces may be written to. Set it and restart")
    if not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise InvalidInput(f"{what}: the server cannot write to its trace_dir. Make the folder, and let the server's user write to it")


def _single(name: str, value: Any) -> Any:
    """Return the only element of a list, as gRPC carries all values; or the value itself."""
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
