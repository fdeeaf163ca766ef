"""``paddlehub.common.dir``: the home's folders under their old names."""

from typing import Any

from paddlehub import env


def __getattr__(name: str) -> Any:
    """Whatever :mod:`paddlehub.env` has."""
    return getattr(env, name)
