"""``paddlehub.module``."""

from paddlehub.module.module import Module

__all__ = ["Module"]
