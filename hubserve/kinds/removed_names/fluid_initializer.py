"""Stands for ``paddle.fluid.initializer``: the initializers of weights by their old names."""

from typing import Any

from hubserve.kinds.removed_names.for_paddle import msra, xavier

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
    """Find what Paddle has still, with and without ``Initializer`` at the end."""
    from importlib import import_module

    short = name[: -len("Initializer")] if name.endswith("Initializer") else name
    place = "paddle.nn.initializer" if short in _NOW else "paddle.base.initializer"
    return getattr(import_module(place), _NOW.get(short, name))
