"""The server's log, for models."""

import inspect
import os
import sys
from enum import IntEnum
from typing import Any

from hubserve.kinds.triton.api.texts import text_of

_LEVELS = "IWEV"


class LogLevel(IntEnum):
    """The severity of a line."""

    INFO = 0
    WARNING = 1
    ERROR = 2
    VERBOSE = 3


class Logger:
    """Writer of lines into the server's log. Verbose lines need the environment variable ``HUB_LOG_VERBOSE``."""

    LogLevel = LogLevel
    INFO = LogLevel.INFO
    WARNING = WARN = LogLevel.WARNING
    ERROR = LogLevel.ERROR
    VERBOSE = LogLevel.VERBOSE

    @staticmethod
    def log(message: Any, level: int = INFO) -> None:
        """Write a line.

        Args:
            message: the text.
            level: a constant of this class.
        Raises:
            TypeError: the level is unknown.
        """
        if not isinstance(level, LogLevel):
            raise TypeError(f"the level must be a constant of Logger, such as Logger.WARNING, got {level!r}")
        _write(message, level)

    @staticmethod
    def log_info(message: Any) -> None:
        """Write an informational line."""
        _write(message, Logger.INFO)

    @staticmethod
    def log_warn(message: Any) -> None:
        """Write a warning."""
        _write(message, Logger.WARNING)

    @staticmethod
    def log_error(message: Any) -> None:
        """Write an error."""
        _write(message, Logger.ERROR)

    @staticmethod
    def log_verbose(message: Any) -> None:
        """Write a verbose line."""
        _write(message, Logger.VERBOSE)


def _write(message: Any, level: LogLevel) -> None:
    text = text_of(message)
    if level == Logger.VERBOSE and not os.environ.get("HUB_LOG_VERBOSE"):
        return
    caller = inspect.currentframe()
    for _ in range(2):
        caller = caller.f_back if caller else None
    where = f"{os.path.basename(caller.f_code.co_filename)}:{caller.f_lineno}" if caller else ""
    sys.stderr.write(f"{_LEVELS[level]} {where}] {text}\n")
