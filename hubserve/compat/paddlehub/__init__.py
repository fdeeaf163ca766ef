"""The name ``paddlehub`` for published modules, where the real package is not installed: what inference needs of it, and no more."""

from paddlehub import env
from paddlehub.module.module import Module

__all__ = ["Module", "__version__", "env", "version"]

#: the release whose behaviour this follows
__version__ = "2.4.0"
version = __version__
