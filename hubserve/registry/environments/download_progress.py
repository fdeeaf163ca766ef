"""The progress of a tool's downloads, read from its output: uv names each at its beginning and end, pip at its beginning."""

import re

_BEGINS = re.compile(r"\s*Downloading (\S+) \(([\d.]+) ?([kMG]i?)?B\)", re.IGNORECASE)
_ENDS = re.compile(r"\s*Downloaded (\S+)")
_UNITS = {"": 1, "k": 1000, "ki": 1024, "m": 1000**2, "mi": 1024**2, "g": 1000**3, "gi": 1024**3}


class Downloads:
    """Counts the bytes of the packages that were named so far."""

    def __init__(self) -> None:
        self._begun: dict[str, int] = {}
        self._ended: set[str] = set()
        self._names_ends = False

    def after(self, line: str) -> tuple[int, int]:
        """Return the bytes that are there, and those of all packages that were named, once another line was said."""
        if begins := _BEGINS.match(line):
            self._begun[begins[1]] = int(float(begins[2]) * _UNITS[(begins[3] or "").lower()])
        elif ends := _ENDS.match(line):
            self._names_ends = True
            self._ended.add(ends[1])
        if self._names_ends:
            done = sum(size for name, size in self._begun.items() if name in self._ended)
        else:  # one after the other: all but the last are there
            done = sum(list(self._begun.values())[:-1])
        return done, sum(self._begun.values())
