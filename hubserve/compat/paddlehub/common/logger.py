"""``paddlehub.common.logger``: the logger under its old name."""

from paddlehub.utils.log import Logger, logger

__all__ = ["Logger", "logger"]
