"""The server's log, for models."""

import inspect
import os
import sys

_LEVELS = "IWEV"


class Logger:
    """Writes lines into the server's log. Verbose lines are written only where the variable ``HUB_LOG_VERBOSE`` is set."""

    INFO = 0
    WARNING = 1
    WARN = 1
    ERROR = 2
    VERBOSE = 3

    @staticmethod
    def log(message: str, level: int = INFO) -> None:
        """Write a line.

        Args:
            message: the text.
            level: a constant of this class.
        """
        _write(message, level)

    @staticmethod
    def log_info(message: str) -> None:
        """Write what is worth knowing."""
        _write(message, Logger.INFO)

    @staticmethod
    def log_warn(message: str) -> None:
        """Write a warning."""
        _write(message, Logger.WARNING)

    @staticmethod
    def log_error(message: str) -> None:
        """Write an error."""
        _write(message, Logger.ERROR)

    @staticmethod
    def log_verbose(message: str) -> None:
        """Write a detail."""
        _write(message, Logger.VERBOSE)


def _write(message: str, level: int) -> None:
    if int(level) == Logger.VERBOSE and not os.environ.get("HUB_LOG_VERBOSE"):
        return
    caller = inspect.currentframe()
    for _ in range(2):
        caller = caller.f_back if caller else None
    where = f"{os.path.basename(caller.f_code.co_filename)}:{caller.f_lineno}" if caller else ""
    sys.stderr.write(f"{_LEVELS[int(level)]} {where}] {message}\n")
