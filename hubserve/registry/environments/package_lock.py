"""Lock: the exact packages of an environment. Equal locks have the same key and share one environment."""

import hashlib
import json
from collections.abc import Iterable
from typing import NamedTuple

from hubserve.registry.environments.interpreters import Python


class Lock(NamedTuple):
    """Content of an environment.

    Attributes:
        pins: ``name==version``, or ``name @ address``, sorted.
        python: the full version of its Python.
        platform: platform of its packages.
        origin: digest of packages and options that only one module brings; "" if everything comes from the user's index.
    """

    pins: tuple[str, ...]
    python: str
    platform: str
    origin: str = ""

    @property
    def key(self) -> str:
        """Name of its environment: the Python's minor version and 16 hexadecimal digits."""
        text = json.dumps([self.pins, self.python, self.platform, self.origin])
        return f"{'.'.join(self.python.split('.')[:2])}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def make_lock(pins: Iterable[str], python: Python, origin: str = "") -> Lock:
    """Return the lock of resolved packages, with their names normalised."""
    return Lock(tuple(sorted({_normal(pin) for pin in pins})), python.version, python.platform, origin)


def _normal(pin: str) -> str:
    from packaging.utils import canonicalize_name

    name, separator, rest = pin.partition("==")
    if separator:
        return f"{canonicalize_name(name.strip())}=={rest.split(';')[0].strip()}"
    name, separator, rest = pin.partition("@")
    return f"{canonicalize_name(name.strip())} @ {rest.strip()}" if separator else pin.strip()
