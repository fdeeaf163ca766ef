"""What ``paddlehub.module`` offers."""

from paddlehub.module.module import Module

__all__ = ["Module"]
