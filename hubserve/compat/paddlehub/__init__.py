"""The package ``paddlehub`` for published modules, if the real one is not installed: the parts that inference needs."""

from importlib import import_module
from typing import Any

from paddlehub import _training, env
from paddlehub.module.module import Module

__all__ = ["Module", "__version__", "env", "version"]

#: the release that this package emulates
__version__ = "2.4.0"
version = __version__

_training.install()

#: further top-level names of the real package -> their place here; imported on first use, because some need Paddle
_ELSEWHERE = {
    "BaseProcessor": "paddlehub.compat.module.processor:BaseProcessor",
    "DataType": "paddlehub.compat.type:DataType",
    "NLPPredictionModule": "paddlehub.compat.module.nlp_module:NLPPredictionModule",
    "TransformerModule": "paddlehub.compat.module.nlp_module:TransformerModule",
    "common": "paddlehub.common",
    "compat": "paddlehub.compat",
    "io": "paddlehub.io",
    "logger": "paddlehub.common.logger",
    "module": "paddlehub.module",
    "paddle_utils": "paddlehub.compat.paddle_utils",
    "reader": "paddlehub.reader",
    "utils": "paddlehub.utils",
    "vision": "paddlehub.vision",
}


def __getattr__(name: str) -> Any:
    """Return a name of the real package; a name for training is a placeholder that raises when it is used."""
    if name in _ELSEWHERE:
        module, _, attribute = _ELSEWHERE[name].partition(":")
        return getattr(import_module(module), attribute) if attribute else import_module(module)
    if name in _training.NAMES:
        return _training.placeholder("paddlehub", name)
    raise AttributeError(f"module 'paddlehub' has no attribute '{name}'")
