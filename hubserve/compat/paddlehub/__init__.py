"""Replacement of the package ``paddlehub`` for published modules, if the real one is not installed; inference only."""

from importlib import import_module
from typing import Any

from paddlehub import _training, env
from paddlehub.module.module import Module

__all__ = ["Module", "__version__", "env", "version"]

#: the release whose behaviour this follows
__version__ = "2.4.0"
version = __version__

_training.install()

#: what else the real package has at its top -> where it is here; imported when it is asked for, because some of it needs Paddle
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
    """Find a name of the real package; one that only training needs can be had, and says so when it is used."""
    if name in _ELSEWHERE:
        place, _, attribute = _ELSEWHERE[name].partition(":")
        return getattr(import_module(place), attribute) if attribute else import_module(place)
    if name in _training.NAMES:
        return _training.placeholder("paddlehub", name)
    raise AttributeError(f"module 'paddlehub' has no attribute '{name}'")
