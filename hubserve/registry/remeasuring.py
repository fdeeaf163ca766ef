"""Start :mod:`hubserve.engines.remeasure` in a module's Python, and find the engine choices that a module uses."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hubserve.engines.selection_cache import Kept, all_kept
from hubserve.registry.instance_command import START

_START = START.format(module="hubserve.engines.remeasure", call="main(sys.argv[1:])")


def remeasure_command(path: Path, margin: float, only_if_idle: bool, python: str) -> Sequence[str]:
    """Return the command line that measures one choice again; it runs with the environment variables of an instance.

    Args:
        path: the choice's file in the cache.
        margin: see :func:`hubserve.engines.remeasure.remeasure`.
        only_if_idle: see there.
        python: the interpreter.
    """
    return [python, "-c", _START, str(path), str(margin), "idle" if only_if_idle else ""]


def choices_of(engine: dict[str, Any] | None) -> list[Kept]:
    """Return the cached choices that a module's engines use.

    Args:
        engine: as :attr:`hubserve.kinds.description.Description.engine`; a module with several networks has one entry for each in it.
    """
    named = {each.get("choice") for each in measurements(engine)} - {None, ""}
    kept = {name_of(each): each for each in sorted(all_kept(), key=lambda each: each.path.stat().st_mtime)} if named else {}
    return [each for name, each in kept.items() if name in named]


def name_of(kept: Kept) -> str:
    """Return the name of a choice, which is also part of the measurements that a module reports."""
    return str((kept.verdict.measured or {}).get("choice", ""))


def measurements(engine: Any) -> Iterator[dict[str, Any]]:
    """Yield the measurements in a module's report about its engine or engines."""
    if isinstance(engine, dict):
        if isinstance(engine.get("measured"), dict) and engine["measured"]:
            yield engine["measured"]
        for value in engine.values():
            yield from measurements(value)
    elif isinstance(engine, list):
        for value in engine:
            yield from measurements(value)
