"""What a module says of the Python that it needs, read without running it.

``@moduleinfo(requires_python=..., environment={...})`` says it; or a file ``hub.json`` with these two keys, for folders without such a call
and for modules that the real PaddleHub, whose ``moduleinfo`` takes no further keywords, must load as well. One of the two, never both.
"""

import json
from pathlib import Path
from typing import Any, Dict

from hubserve.errors import LoadFailed

FILE_NAME = "hub.json"
KEYS = ("requires_python", "environment")


def read_declared(folder: Path, keywords: Dict[str, Any]) -> Dict[str, Any]:
    """The two fields of :class:`hubserve.kinds.base.ModuleInfo`.

    Args:
        folder: the module's.
        keywords: literal keywords of its ``@moduleinfo``, if it has one.
    Returns:
        ``requires_python``, a text, and ``environment``, an object; empty where the module says nothing.
    Raises:
        LoadFailed: ``hub.json`` is unreadable or has another key, a value is of another type, or both places are used.
    """
    given, where = {key: keywords[key] for key in KEYS if keywords.get(key)}, "@moduleinfo"
    path = folder / FILE_NAME
    if path.is_file():
        if given:
            raise LoadFailed(f"'{path}' and @moduleinfo both say what the module needs ({', '.join(given)}). Keep one of the two.")
        given, where = _read(path), f"'{path}'"
    return {"requires_python": _typed(given, "requires_python", str, where), "environment": _typed(given, "environment", dict, where)}


def _read(path: Path) -> Dict[str, Any]:
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise LoadFailed(f"'{path}' cannot be read as JSON: {error}. Mend it or delete it.") from None
    if not isinstance(document, dict):
        raise LoadFailed(f"'{path}' must hold a JSON object, got {type(document).__name__}. Mend it or delete it.")
    for key in document:
        if key not in KEYS:
            raise LoadFailed(f"'{path}' has an unknown key '{str(key)[:60]}'. Known are {' and '.join(KEYS)}.")
    return document


def _typed(given: Dict[str, Any], key: str, wanted: type, where: str) -> Any:
    value = given.get(key)
    if not value:
        return wanted()
    if not isinstance(value, wanted):
        example = '">=3.8,<3.10"' if wanted is str else '{"environ": {"NAME": "value"}}'
        raise LoadFailed(f"{where}: {key} has a wrong type, {type(value).__name__}. Write it like {example}.")
    return value
