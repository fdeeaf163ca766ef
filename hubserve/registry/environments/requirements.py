"""Reads a ``requirements.txt`` that somebody else wrote: pip's syntax, but nothing that reaches outside the module's folder."""

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import InstallError

FILE_NAME = "requirements.txt"

_COMMENT = re.compile(r"(^|\s)#.*$")
_NESTED = {"-r", "--requirement"}
_CONSTRAINT = {"-c", "--constraint"}
_LINKS = {"-f", "--find-links"}
_INDEX = {"-i", "--index-url", "--extra-index-url", "--trusted-host"}
_HANDED_ON = {"--pre", "--prefer-binary", "--only-binary", "--no-binary", "--no-index"}
_MAX_BYTES = 1 << 20
_MAX_DEPTH = 10


class Requirements(NamedTuple):
    """What a module's packages are to be.

    Attributes:
        lines: requirements, one each, as PEP 508 writes them.
        constraints: versions that others must keep to, if they are installed at all; likewise.
        options: lines with options that pip and uv know, such as ``--pre``.
        links: folders of the module that hold packages, absolute.
    """

    lines: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    links: tuple[Path, ...] = ()

    def links_digest(self) -> str:
        """Over what lies in :attr:`links`; "" where there are none. Packages of one version from two modules need not be the same."""
        if not self.links:
            return ""
        digest = hashlib.sha256()
        for path in sorted(each for folder in self.links for each in folder.iterdir() if each.is_file()):
            digest.update(f"{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()


def read_requirements(folder: Path, *, allow_urls: bool = False) -> Requirements:
    """Read a module's requirements; none where it has no such file, or one of comments only.

    Args:
        folder: the module's.
        allow_urls: whether packages and indexes may be named by address.
    Raises:
        InstallError: a line is refused or not understood; the message gives file, line number and reason.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        return Requirements()
    reader = _Reader(folder.resolve(), allow_urls)
    reader.read(path, 0, reader.lines)
    return reader.result()


class _Reader:
    def __init__(self, root: Path, allow_urls: bool) -> None:
        self._root = root
        self._allow_urls = allow_urls
        self.lines: list[str] = []
        self._constraints: list[str] = []
        self._options: list[str] = []
        self._links: list[Path] = []

    def result(self) -> Requirements:
        links = tuple(dict.fromkeys(self._links))
        return Requirements(tuple(dict.fromkeys(self.lines)), tuple(dict.fromkeys(self._constraints)), tuple(self._options), links)

    def read(self, path: Path, depth: int, target: list[str]) -> None:
        if depth > _MAX_DEPTH:
            raise InstallError(f"'{path}' is read by files that read one another without end. Remove a -r or -c line.")
        for number, line in _logical_lines(path):
            where = f"'{path}', line {number}"
            if line.startswith("-"):
                self._option(line, where, path, depth, target)
            else:
                target.append(self._requirement(line, where))

    def _option(self, line: str, where: str, path: Path, depth: int, target: list[str]) -> None:
        name, value = _split_option(line)
        if name in _NESTED | _CONSTRAINT:
            self.read(self._inside(path, value, where), depth + 1, target if name in _NESTED else self._constraints)
        elif name in _LINKS and "://" not in value:
            folder = self._inside(path, value, where)
            if not folder.is_dir():
                raise InstallError(f"{where}: {name} must name a folder of the module, and '{value}' is none. Mend the line.")
            self._links.append(folder)
        elif name in _INDEX | _LINKS:
            self._check_address(value, where)
            self._options.append(f"{name} {value}")
        elif name in _HANDED_ON:
            self._options.append(line)
        else:
            raise InstallError(f"{where}: the option {name[:40]} is not supported here. Name packages as NAME or NAME==VERSION.")

    def _inside(self, path: Path, value: str, where: str) -> Path:
        found = (path.parent / value).resolve()
        if "://" in value or not (found == self._root or self._root in found.parents):
            raise InstallError(
                f"{where}: '{value[:80]}' lies outside the module's folder, and is not read. Put it inside, or name packages."
            )
        return found

    def _requirement(self, line: str, where: str) -> str:
        from packaging.requirements import InvalidRequirement, Requirement

        try:
            requirement = Requirement(line)
        except InvalidRequirement as error:
            reason = " ".join(str(error).split())
            hint = "Write NAME @ ADDRESS" if "://" in line else "Write NAME, NAME==VERSION or NAME>=VERSION, one a line, without options"
            raise InstallError(f"{where}: '{line[:80]}' is no requirement that can be used here ({reason[:120]}). {hint}.") from None
        if requirement.url:
            self._check_address(requirement.url, where)
        return line

    def _check_address(self, address: str, where: str) -> None:
        if address.startswith("file:"):
            raise InstallError(
                f"{where}: a file outside the module is not read. Put the package into a folder of the module: --find-links DIR"
            )
        if not self._allow_urls:
            raise InstallError(
                f"{where}: packages come from your own package index, not from the address '{address[:80]}' that the module names. "
                "If you trust it: hub install --allow-urls"
            )


def _logical_lines(path: Path) -> list[tuple[int, str]]:
    """Number and text of every line that says something; a backslash at an end joins two."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InstallError(f"'{path}' is over {_MAX_BYTES >> 20} MiB: that is no list of requirements.")
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InstallError(f"'{path}' cannot be read: {error}. It must be a text in UTF-8.") from None
    found: list[tuple[int, str]] = []
    begun = ""
    for number, raw in enumerate(text.splitlines(), start=1):
        line = begun + raw
        begun = ""
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            begun = line[:-1]
            continue
        line = _COMMENT.sub("", line).strip()
        if line:
            found.append((number, line))
    return found + ([(number, begun.strip())] if begun.strip() else [])


def _split_option(line: str) -> tuple[str, str]:
    if line.startswith("--"):
        name, *value = re.split(r"[= ]", line, maxsplit=1)
        return name, "".join(value).strip()
    return line[:2], line[2:].lstrip("= ").strip()
