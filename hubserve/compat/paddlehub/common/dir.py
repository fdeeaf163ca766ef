"""``paddlehub.common.dir``: the folders of the home under their old names."""

from typing import Any

from paddlehub import env


def __getattr__(name: str) -> Any:
    """Return a name of :mod:`paddlehub.env`."""
    return getattr(env, name)
