"""Names that newer packages removed, and their replacements: one table for each package, in ``tables/``.

A table's ``NAMES`` maps a dotted name to its replacement, ``module:attribute``, or to "" if only an older package has it.
``METHODS`` maps methods of classes in the same way, and ``MODULES`` modules. ``WRAPPED`` maps functions that still exist but refuse
arguments that they once took to a factory, which gets the present function and returns a wrapper, or None if none is needed.
``LEFT_OVER`` maps removed modules to their remains: they can be imported, by packages too, and count as removed.
:mod:`hubserve.kinds.removed_names.runtime` installs all of them.
"""

from typing import Dict, Iterator, Optional, Tuple

from hubserve.kinds.removed_names.tables import numpy, opencv, paddle, pillow, stdlib, yaml

#: environment variable of an instance: "0" leaves old names removed
VARIABLE = "HUB_OLD_NAMES"

#: top-level package -> its table
TABLES = {"numpy": numpy, "PIL": pillow, "paddle": paddle, "cv2": opencv, "yaml": yaml, **dict.fromkeys(stdlib.PACKAGES, stdlib)}

#: function that exists but refuses calls without an argument -> that argument's name and position
NEEDS = {"numpy.fromstring": ("sep", 3), "yaml.load": ("Loader", 1)}


def find(dotted: str) -> Optional[str]:
    """Return the removed name that a dotted name is, or is inside of; None if it still exists."""
    entries = _entries(dotted)
    parts = dotted.split(".")
    names = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((name for name in names if name in entries), None)


def find_method(attribute: str) -> Iterator[str]:
    """Yield the removed methods of this name."""
    for table in {id(each): each for each in TABLES.values()}.values():
        yield from (name for name in getattr(table, "METHODS", ()) if name.rsplit(".", 1)[-1] == attribute)


def has_replacement(name: str) -> bool:
    """Return True if code that uses a removed name, as :func:`find` returned it, runs with newer packages in an instance."""
    table = TABLES[name.split(".", maxsplit=1)[0]]
    return bool(_entries(name).get(name) or getattr(table, "METHODS", {}).get(name))


def _entries(dotted: str) -> Dict[str, str]:
    table = TABLES.get(dotted.split(".", maxsplit=1)[0])
    return {**table.NAMES, **getattr(table, "WRAPPED", {}), **getattr(table, "MODULES", {})} if table else {}


def is_kept_for(name: str, call: Optional[Tuple[int, Tuple[str, ...]]]) -> bool:
    """Return True if newer packages still accept a call of a name.

    Args:
        name: the function's.
        call: the number of positional arguments, and the names of the others; None if it is not called.
    """
    if name not in NEEDS or call is None:
        return False
    argument, index = NEEDS[name]
    count, keywords = call
    return count > index or argument in keywords or "**" in keywords
