"""Read a module author's ``requirements.txt`` and keep only lines that were understood.

pip and uv are never given the author's file: each line is parsed here by a strict subset of pip's syntax, checked, and written again
(:mod:`~hubserve.registry.environments.requirement_lines`). A line, an option or a character that is unknown here is refused.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import InstallError
from hubserve.registry.environments.find_links import check_wheels, packages_in
from hubserve.registry.environments.requirement_lines import (
    CONSTRAINT,
    FLAGS,
    FORMATS,
    INDEXES,
    LINKS,
    NESTED,
    check_address,
    formats,
    is_address,
    logical_lines,
    requirement,
    split_options,
)

FILE_NAME = "requirements.txt"

#: hubserve replaces them in every instance, whichever versions a module requires
_PROVIDED = re.compile(r"(paddlehub|tencent[-_.]tiinfer)(?![a-z0-9-])", re.IGNORECASE)

_MAX_DEPTH = 10
_MAX_FILES = 100


class Requirements(NamedTuple):
    """Required packages.

    Attributes:
        lines: one requirement each, in the form of PEP 508.
        constraints: versions of packages that apply if those are installed at all; likewise.
        options: lines with one option each that pip and uv know, such as ``--pre``.
        links: folders of the module that hold packages, absolute.
    """

    lines: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    links: tuple[Path, ...] = ()

    def links_digest(self) -> str:
        """Return a hash of the packages in :attr:`links`, or "" if there are none: modules may bring different packages of one version."""
        if not self.links:
            return ""
        digest = hashlib.sha256()
        for path in sorted(each for folder in self.links for each in packages_in(folder)):
            digest.update(f"{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()


def read_requirements(folder: Path, *, allow_urls: bool = False) -> Requirements:
    """Read a module's requirements except packages that hubserve replaces; a missing file means none.

    Args:
        folder: the module's.
        allow_urls: whether addresses of packages and indexes are allowed.
    Raises:
        InstallError: a line is refused or not understood; the message gives file, line number and reason.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return Requirements()
    reader = _Reader(folder.resolve(), allow_urls=allow_urls)
    reader.read(path, 0, reader.lines)
    return reader.result()


def parse_requirements(lines: Sequence[str], constraints: Sequence[str], folder: Path, where: str) -> Requirements:
    """Parse requirement lines that do not come from a module's file; addresses are allowed.

    Args:
        lines: as in a requirements file.
        constraints: as in a constraints file.
        folder: base of relative folders and files.
        where: name of the source in messages.
    Raises:
        InstallError: a line is not understood; the message gives it and the reason.
    """
    reader = _Reader(folder.resolve(), allow_urls=True)
    for target, text in [*((reader.lines, line) for line in lines), *((reader.constraints, line) for line in constraints)]:
        reader.line(text, where, folder / FILE_NAME, 0, target)
    return reader.result()


class _Reader:
    def __init__(self, root: Path, *, allow_urls: bool) -> None:
        self._root = root
        self._allow_urls = allow_urls
        self._files = 0
        self.lines: list[str] = []
        self.constraints: list[str] = []
        self._options: list[str] = []
        self._links: list[Path] = []

    def result(self) -> Requirements:
        found = (self.lines, self.constraints, self._options)
        lines, constraints, options = (tuple(dict.fromkeys(each)) for each in found)
        return Requirements(lines, constraints, options, tuple(dict.fromkeys(self._links)))

    def read(self, path: Path, depth: int, target: list[str]) -> None:
        self._files += 1
        if depth > _MAX_DEPTH or self._files > _MAX_FILES:
            raise InstallError(f"'{path}' is included by files that include one another without end. Remove a -r or -c line.")
        for number, line in logical_lines(path):
            self.line(line, f"'{path}', line {number}", path, depth, target)

    def line(self, line: str, where: str, path: Path, depth: int, target: list[str]) -> None:
        if line.startswith("-"):
            for name, value in split_options(line, where):
                self._option(name, value, where, path, depth, target)
            return
        text = requirement(line, where, allow_urls=self._allow_urls)
        if not _PROVIDED.match(text):
            target.append(text)

    def _option(self, name: str, value: str, where: str, path: Path, depth: int, target: list[str]) -> None:
        if name == NESTED:
            self.read(self._inside(path, value, where, Path.is_file, "file"), depth + 1, target)
        elif name == CONSTRAINT:
            self.read(self._inside(path, value, where, Path.is_file, "file"), depth + 1, self.constraints)
        elif name == LINKS and not is_address(value):
            folder = self._inside(path, value, where, Path.is_dir, "folder")
            check_wheels(folder, where, allow_urls=self._allow_urls)
            self._links.append(folder)
        elif name in (LINKS, *INDEXES):
            self._options.append(f"{name} {check_address(value, where, allow_urls=self._allow_urls)}")
        elif name in FORMATS:
            self._options.append(f"{name} {formats(value, where)}")
        else:
            assert name in FLAGS, "split_options lets no other through"
            self._options.append(name)

    def _inside(self, path: Path, value: str, where: str, exists: Callable[[Path], bool], kind: str) -> Path:
        found = (path.parent / value).resolve()
        if is_address(value) or not (found == self._root or self._root in found.parents):
            raise InstallError(
                f"{where}: '{value[:80]}' lies outside the module's folder, and is not read. Put it inside, or name packages."
            )
        if not exists(found):
            raise InstallError(f"{where}: it must name a {kind} of the module, and there is no {kind} '{value[:80]}'. Correct the line.")
        return found
