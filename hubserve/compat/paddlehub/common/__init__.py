"""``paddlehub.common``, for modules of PaddleHub 1."""

from paddlehub.common import logger, utils

__all__ = ["logger", "utils"]
