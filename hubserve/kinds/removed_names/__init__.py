"""Names that newer packages removed, and what does the same now: one table for each package.

A table's ``NAMES`` maps a dotted name to its replacement, ``module:attribute``; "" where there is none and only an older package has it.
``METHODS`` maps methods of classes in the same way, and ``MODULES`` modules. ``WRAPPED`` maps functions that are there still and refuse
what they took once to a function that is given the present one and returns another, or None where it is as it was.
``LEFT_OVER`` maps modules to what is left of them: they are found, by packages too, and count as removed.
:mod:`hubserve.kinds.removed_names.runtime` puts them in place.
"""

from typing import Dict, Iterator, Optional, Tuple

from hubserve.kinds.removed_names import numpy, opencv, paddle, pillow, stdlib, yaml

#: "0" in an instance's environment: old names stay removed
VARIABLE = "HUB_OLD_NAMES"

#: top-level package -> its table
TABLES = {"numpy": numpy, "PIL": pillow, "paddle": paddle, "cv2": opencv, "yaml": yaml, **dict.fromkeys(stdlib.PACKAGES, stdlib)}

#: a function that was not removed, but refuses calls without an argument: its name, and that argument's place
NEEDS = {"numpy.fromstring": ("sep", 3), "yaml.load": ("Loader", 1)}


def find(dotted: str) -> Optional[str]:
    """Return the removed name that a dotted name is, or is inside of; None if it is there still."""
    entries = _entries(dotted)
    parts = dotted.split(".")
    names = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((name for name in names if name in entries), None)


def find_method(attribute: str) -> Iterator[str]:
    """Return the removed methods of this name."""
    for table in {id(each): each for each in TABLES.values()}.values():
        yield from (name for name in getattr(table, "METHODS", ()) if name.rsplit(".", 1)[-1] == attribute)


def has_replacement(name: str) -> bool:
    """Return whether code that uses a removed name runs with newer packages in an instance; ``name`` is one that :func:`find` returned."""
    table = TABLES[name.split(".", maxsplit=1)[0]]
    return bool(_entries(name).get(name) or getattr(table, "METHODS", {}).get(name))


def _entries(dotted: str) -> Dict[str, str]:
    table = TABLES.get(dotted.split(".", maxsplit=1)[0])
    return {**table.NAMES, **getattr(table, "WRAPPED", {}), **getattr(table, "MODULES", {})} if table else {}


def is_kept_for(name: str, call: Optional[Tuple[int, Tuple[str, ...]]]) -> bool:
    """Return whether newer packages still accept a call of a name.

    Args:
        name: the name.
        call: how many arguments it is given by position, and the names of the others; None where it is not called.
    """
    if name not in NEEDS or call is None:
        return False
    argument, index = NEEDS[name]
    count, keywords = call
    return count > index or argument in keywords or "**" in keywords
