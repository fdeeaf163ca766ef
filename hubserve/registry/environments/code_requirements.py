"""Find the import names that a module's code requires, and those of them that the Python of hub lacks."""

from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from hubserve.kinds.module_scan import Place, scan_module
from hubserve.kinds.project_imports import find_in
from hubserve.kinds.project_requirements import requirements_beside
from hubserve.kinds.removed_names import has_replacement

#: import name of a package -> names that it imports without declaring them
_UNDECLARED = {
    **dict.fromkeys(
        (
            *("paddleaudio", "paddleclas", "paddlenlp", "paddleocr", "paddleseg", "paddleslim", "paddlespeech", "paddlex"),
            *("parakeet", "ppgan"),
        ),
        ("paddle",),
    ),
    "ppdet": ("paddle", "requests"),
}


def required_names(folder: Path, beside: Sequence[Path] = (), parts: Iterable[str] = ()) -> dict[str, Place]:
    """Return the names that a module's code cannot run without, each with the first place that imports it.

    They are top-level names of packages, and names such as ``paddle.fluid`` that only older versions of a package have. Optional imports
    are left out, and so are names that hubserve, the module itself or the standard library provides.

    Args:
        folder: the module's files.
        beside: further folders that its code can import from; the packages that their code requires are included.
        parts: dotted names to include if the code imports them or something inside them.
    """
    scan = scan_module(folder, beside)
    around = [str(each) for each in beside]
    inside = {part: places for part in parts for name, places in scan.dotted.items() if f"{name}.".startswith(f"{part}.")}
    removed = {name: places for name, places in scan.removed.items() if not has_replacement(name)}
    needed = {
        name: first[0]
        for name, places in sorted({**scan.imports, **inside, **removed}.items())
        if (first := [each for each in places if not each.optional]) and not find_in(around, name)
    }
    for name in set(needed) & set(_UNDECLARED):
        for undeclared in _UNDECLARED[name]:
            needed.setdefault(undeclared, needed[name])
    return {**requirements_beside(folder, beside), **needed} if beside else needed


def missing_on_host(names: Iterable[str]) -> list[str]:
    """Return the names that the Python of hub does not have, without importing any."""
    return [name for name in names if not _is_on_host(name)]


def _is_on_host(name: str) -> bool:
    top, *inner = name.split(".")
    try:
        spec = find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return False
    if spec is None:
        return False
    if not inner:
        return True
    bases = [Path(each).joinpath(*inner) for each in spec.submodule_search_locations or ()]
    return any(base.is_dir() or any(base.parent.glob(f"{base.name}.*")) for base in bases)


def places_text(names: Iterable[str], needed: Mapping[str, Place]) -> str:
    """Return names with the place of each, for messages: ``'six' (module.py, line 3)``."""
    return " and ".join(f"'{each}' ({needed[each].file}, line {needed[each].line})" if each in needed else f"'{each}'" for each in names)
