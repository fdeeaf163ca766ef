"""A lock: exactly which packages an environment holds. Equal locks have one key, and share one environment."""

import hashlib
import json
from collections.abc import Iterable
from typing import NamedTuple

from hubserve.registry.environments.interpreters import Python


class Lock(NamedTuple):
    """What an environment is made of.

    Attributes:
        pins: ``name==version``, or ``name @ address``, sorted.
        python: the full version of its Python.
        platform: what it is for.
        origin: digest of the packages and options that only one module brings; "" where everything comes from the user's index.
    """

    pins: tuple[str, ...]
    python: str
    platform: str
    origin: str = ""

    @property
    def key(self) -> str:
        """The name of its environment: the Python's version and 16 hexadecimal digits."""
        text = json.dumps([self.pins, self.python, self.platform, self.origin])
        return f"{'.'.join(self.python.split('.')[:2])}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def make_lock(pins: Iterable[str], python: Python, origin: str = "") -> Lock:
    """The lock of resolved packages, however the tool that resolved them writes names."""
    return Lock(tuple(sorted({_normal(pin) for pin in pins})), python.version, python.platform, origin)


def _normal(pin: str) -> str:
    from packaging.utils import canonicalize_name

    name, separator, rest = pin.partition("==")
    if separator:
        return f"{canonicalize_name(name.strip())}=={rest.split(';')[0].strip()}"
    name, separator, rest = pin.partition("@")
    return f"{canonicalize_name(name.strip())} @ {rest.strip()}" if separator else pin.strip()
