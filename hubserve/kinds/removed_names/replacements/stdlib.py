"""Removed functions of Python's standard library, rebuilt on present ones."""

import inspect
from collections import namedtuple
from contextlib import suppress
from pathlib import Path
from typing import Any, Tuple

ArgSpec = namedtuple("ArgSpec", "args varargs keywords defaults")


def getargspec(func: Any) -> ArgSpec:
    """Return the parameters of a function.

    Raises:
        ValueError: it has keyword-only parameters or annotations, as in the original.
    """
    spec = inspect.getfullargspec(func)
    if spec.kwonlyargs or spec.annotations:
        raise ValueError("Function has keyword-only parameters or annotations, use inspect.signature() API which can support them")
    return ArgSpec(spec.args, spec.varargs, spec.varkw, spec.defaults)


def formatargspec(args: Any, varargs: Any = None, varkw: Any = None, defaults: Any = None, *_: Any) -> str:
    """Format parameters as in a function definition."""
    given = list(defaults or ())
    plain = len(args) - len(given)
    parts = [str(each) if index < plain else f"{each}={given[index - plain]!r}" for index, each in enumerate(args)]
    parts += [f"*{varargs}"] if varargs else []
    parts += [f"**{varkw}"] if varkw else []
    return f"({', '.join(parts)})"


def linux_distribution(*_: Any, **__: Any) -> Tuple[str, str, str]:
    """Return the name, version and code name of the Linux distribution."""
    with suppress(OSError):
        lines = (line.partition("=") for line in Path("/etc/os-release").read_text("utf-8").splitlines())
        release = {key: value.strip("'\"") for key, _, value in lines}
        return release.get("NAME", ""), release.get("VERSION_ID", ""), release.get("VERSION_CODENAME", "")
    return "", "", ""


def unescape(self: Any, text: str) -> str:  # noqa: ARG001 - a method of HTMLParser
    """Replace character references by the characters."""
    from html import unescape as replace

    return replace(text)


def is_alive(thread: Any) -> bool:
    """Return True if a thread runs."""
    return bool(thread.is_alive())


def getchildren(element: Any) -> Any:
    """Return the direct children of an element."""
    return list(element)


def getiterator(element: Any, tag: Any = None) -> Any:
    """Return an element and all of its descendants."""
    return list(element.iter(tag))


def array_tostring(array: Any) -> bytes:
    """Return the bytes of an array."""
    return bytes(array.tobytes())


def array_fromstring(array: Any, data: Any) -> None:
    """Append values from bytes."""
    array.frombytes(data.encode() if isinstance(data, str) else data)
