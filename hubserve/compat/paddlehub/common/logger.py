"""``paddlehub.common.logger``: the logger under its old name."""

from paddlehub.utils.log import logger

__all__ = ["logger"]
