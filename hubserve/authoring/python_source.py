"""Python source of generated modules: class names, literals and strings."""

import json
import keyword
import re
from collections.abc import Mapping
from typing import Any


def class_name(name: str) -> str:
    """Return ``MyModule`` for ``my_module``."""
    words = "".join(word[:1].upper() + word[1:] for word in re.split(r"[-_]+", name))
    return words if words.isidentifier() and not keyword.iskeyword(words) else f"Module{words}"


def literal(value: Any, comments: Mapping[str, str], indent: int = 0) -> str:
    """Return a value as formatted Python source: dicts and lists of dicts over several lines, comments above their keys."""
    if isinstance(value, Source):
        return str(value)
    inner = " " * (indent + 4)
    if isinstance(value, Mapping) and value:
        lines = [
            f"{inner}# {comments[key]}\n{entry}" if key in comments else entry
            for key, entry in ((key, f"{inner}{quoted(key)}: {literal(each, comments, indent + 4)},\n") for key, each in value.items())
        ]
        return "{\n" + "".join(lines) + " " * indent + "}"
    if isinstance(value, (list, tuple)) and any(isinstance(each, (Mapping, list, tuple)) for each in value):
        return "[\n" + "".join(f"{inner}{literal(each, comments, indent + 4)},\n" for each in value) + " " * indent + "]"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(literal(each, comments) for each in value) + "]"
    return quoted(value) if isinstance(value, str) else repr(value)


def quoted(text: str) -> str:
    """Return a text as Python source, in double quotes unless it contains some."""
    return repr(text) if '"' in text and "'" not in text else json.dumps(text, ensure_ascii=False)


class Source(str):
    """Text that :func:`literal` inserts unchanged."""

    __slots__ = ()
