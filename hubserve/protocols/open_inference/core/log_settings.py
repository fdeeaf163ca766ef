"""The protocol's log settings, which apply to all of hubserve's log records in this process."""

import logging
from typing import Any

from hubserve.errors import InvalidInput, shown
from hubserve.telemetry.log_format import DEFAULT, ISO, TimeFormat

_LEVELS = {"log_info": logging.INFO, "log_warning": logging.WARNING, "log_error": logging.ERROR}
_MAX_VERBOSE = 2**31 - 1


class _Switches(logging.Filter):
    """Filter by the levels that are switched on; one per process, as loggers are."""

    def __init__(self) -> None:
        super().__init__()
        self.on = dict.fromkeys(_LEVELS, True)
        self.verbose = 0
        self.file = ""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.INFO:
            return self.verbose > 0
        name = "log_info" if record.levelno < logging.WARNING else "log_warning" if record.levelno < logging.ERROR else "log_error"
        return self.on[name]


_switches = _Switches()


def start_with_level(level: str, file: str) -> None:
    """Begin with the settings of the server, as far as the protocol has them.

    Args:
        level: the lowest one that is logged: ``debug``, ``info``, ``warning`` or ``error``.
        file: that is written; "" for none.
    """
    lowest, logger = getattr(logging, level.upper()), logging.getLogger("hubserve")
    _switches.on = {name: each >= lowest for name, each in _LEVELS.items()}
    _switches.verbose, _switches.file = int(level == "debug"), file
    logger.setLevel(logging.DEBUG if _switches.verbose else logging.INFO)
    logger.addFilter(_switches)


class LogSettings:
    """Log settings of the server."""

    def __init__(self) -> None:
        self._logger = logging.getLogger("hubserve")

    def settings(self) -> dict[str, Any]:
        """Return ``{"log_info": true, "log_verbose_level": 0, "log_format": "default", ...}``."""
        return {"log_file": _switches.file, **_switches.on, "log_verbose_level": _switches.verbose, "log_format": TimeFormat.name}

    def update(self, changes: dict[str, Any]) -> dict[str, Any]:
        """Change some settings, and return all.

        Raises:
            InvalidInput: a setting is unknown or its value unusable; nothing is changed.
        """
        if not isinstance(changes, dict):
            raise InvalidInput(f"log settings must be an object, got {type(changes).__name__}")
        for name, value in changes.items():
            self._check(name, value)
        self._logger.addFilter(_switches)  # adding it again has no effect
        _switches.on |= {name: value for name, value in changes.items() if name in _LEVELS}
        if "log_verbose_level" in changes:
            _switches.verbose = changes["log_verbose_level"]
            self._logger.setLevel(logging.DEBUG if _switches.verbose else logging.INFO)
        TimeFormat.name = changes.get("log_format", TimeFormat.name)
        return self.settings()

    def _check(self, name: str, value: Any) -> None:
        known = self.settings()
        if name not in known:
            raise InvalidInput(f"there is no log setting '{str(name)[:80]}'; there are {', '.join(known)}")
        if name in _LEVELS and not isinstance(value, bool):
            raise InvalidInput(f"{name} must be true or false, got {shown(value, 40)!r}")
        if name == "log_file" and value != _switches.file:
            raise InvalidInput(
                "log file location can not be updated through network protocol; the setting 'log_file' names it when the server starts"
            )
        if name == "log_format" and value not in (DEFAULT, ISO):
            raise InvalidInput(f"log_format must be '{DEFAULT}' or '{ISO}', got {shown(value, 40)!r}")
        if name == "log_verbose_level" and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_VERBOSE):
            raise InvalidInput(f"log_verbose_level must be a whole number from 0 up, got {shown(value, 40)!r}")
