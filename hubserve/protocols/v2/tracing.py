"""The protocol's trace and logging settings."""

from typing import Any


class Traces:
    """What is traced: for all models, and for those that have settings of their own."""

    def settings(self, model: str = "") -> dict[str, Any]:
        """``{"trace_level": [...], "trace_rate": "1000", ...}``."""
        raise NotImplementedError

    def update(self, model: str, changes: dict[str, Any]) -> dict[str, Any]:
        """Change some settings; a value of None takes a model's own away. Gives what then holds.

        Raises:
            InvalidInput: a setting is unknown or its value unusable; nothing has changed.
        """
        raise NotImplementedError


class Logs:
    """What the server logs."""

    def settings(self) -> dict[str, Any]:
        """``{"log_info": true, "log_verbose_level": 0, "log_format": "default", ...}``."""
        raise NotImplementedError

    def update(self, changes: dict[str, Any]) -> dict[str, Any]:
        """Change some settings; gives what then holds.

        Raises:
            InvalidInput: a setting is unknown or its value unusable; nothing has changed.
        """
        raise NotImplementedError
