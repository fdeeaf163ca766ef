"""Replacement of ``paddle.fluid.initializer``: the initializers of weights by their old names."""

from typing import Any

from hubserve.kinds.removed_names.replacements.paddle import msra, xavier

MSRA = MSRAInitializer = msra
Xavier = XavierInitializer = xavier

_NOW = {
    "Bilinear": "Bilinear",
    "Constant": "Constant",
    "Normal": "Normal",
    "NumpyArray": "Assign",
    "TruncatedNormal": "TruncatedNormal",
    "Uniform": "Uniform",
}


def __getattr__(name: str) -> Any:
    """Return an initializer that Paddle still has, with or without ``Initializer`` at the end of its name."""
    from importlib import import_module

    short = name[: -len("Initializer")] if name.endswith("Initializer") else name
    module = "paddle.nn.initializer" if short in _NOW else "paddle.base.initializer"
    return getattr(import_module(module), _NOW.get(short, name))
