"""Parse and rewrite the lines of a requirements file: a strict subset of pip's syntax, in printable ASCII.

pip itself is lenient: it splits a line at the first word that begins with ``-``, accepts abbreviated options, expands ``${VARIABLES}`` and
treats a name that ends in ``.whl`` as a file. All of that is refused here, so that hubserve, pip and uv read a line in the same way.
"""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from hubserve.errors import InstallError

NESTED, CONSTRAINT, LINKS = "--requirement", "--constraint", "--find-links"
INDEXES = ("--index-url", "--extra-index-url")
FORMATS = ("--only-binary", "--no-binary")
FLAGS = ("--pre", "--prefer-binary", "--no-index")

_SHORT = {"-r": NESTED, "-c": CONSTRAINT, "-f": LINKS, "-i": "--index-url"}
_WITH_VALUE = (NESTED, CONSTRAINT, LINKS, *INDEXES, *FORMATS)
_INDEX_SCHEMES = ("https", "http")
_PACKAGE_SCHEMES = (*_INDEX_SCHEMES, "git+https", "git+http", "git+ssh")

_COMMENT = re.compile(r"(^|\s)#.*$")
_ADDRESS = re.compile(r"\s*(?:[A-Za-z][A-Za-z0-9+.-]*:|//|\\\\)")
_URL = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!&()*+,;=%-]+")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?")
#: characters of a requirement without an address; no word may begin with "-", because pip would read options from there on
_PLAIN = re.compile(r"[A-Za-z0-9 ._\[\],<>=!~+*;()\"-]+")
_OPTION_INSIDE = re.compile(r"(?:^|[^A-Za-z0-9._-])-")
_MAX_BYTES = 1 << 20


def logical_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield number and text of every line with content; lines joined by a backslash have the number of the last one.

    Raises:
        InstallError: the file cannot be read, is too large or not UTF-8, or a line has characters other than printable ASCII.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InstallError(f"'{path}' is over {_MAX_BYTES >> 20} MiB, too large for a list of requirements. Shorten it.")
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InstallError(f"'{path}' cannot be read: {error}. It must be a text file in UTF-8.") from None
    begun, number = "", 0
    for number, raw in enumerate(text.splitlines(), start=1):
        line = begun + raw
        begun = ""
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            begun = line[:-1]
            continue
        yield from _checked(path, number, line)
    yield from _checked(path, number, begun)


def _checked(path: Path, number: int, line: str) -> Iterator[tuple[int, str]]:
    line = _COMMENT.sub("", line).replace("\t", " ").strip(" ")
    if not line:
        return
    if not (line.isascii() and line.isprintable()) or "${" in line:
        raise InstallError(
            f"'{path}', line {number}: {line[:80]!a} is not a usable requirement: it contains a variable or a character other than "
            "printable ASCII, which only comments may. Write the value itself."
        )
    yield number, line


def split_options(line: str, where: str) -> Iterator[tuple[str, str]]:
    """Yield the options of a line, each under its full name, with its value ("" for a flag).

    Raises:
        InstallError: an option is unknown, lacks its value, or is followed by something else.
    """
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise InstallError(f"{where}: '{line[:80]}' cannot be split into words: {error}. Close the quotation marks.") from None
    while words:
        word = words.pop(0)
        name, separator, value = _named(word)
        if name in FLAGS and not separator:
            yield name, ""
        elif name in _WITH_VALUE:
            value = value if separator else words.pop(0) if words else ""
            if not value or value.startswith("-"):
                raise InstallError(f"{where}: the option {word[:40]} needs a value. Write {name} VALUE.")
            yield name, value
        else:
            what = f"the option {word[:40]}" if word.startswith("-") else f"'{word[:40]}' after an option"
            raise InstallError(
                f"{where}: {what} is not supported. Write packages as NAME or NAME==VERSION, one per line; the supported options, "
                f"written in full, are {', '.join((*_WITH_VALUE, *FLAGS))}."
            )


def _named(word: str) -> tuple[str, str, str]:
    """Split a word into the option's full name, the separator, and the value."""
    if word.startswith("--") or word[:2] not in _SHORT:
        return word.partition("=")
    return _SHORT[word[:2]], "=" if word[2:] else "", word[2:]


def requirement(line: str, where: str, *, allow_urls: bool) -> str:
    """Parse a requirement by PEP 508 and return it rewritten, with its name normalised.

    Raises:
        InstallError: the line is not a requirement, or names an address that is not allowed.
    """
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    try:
        parsed = Requirement(line)
        parsed.name = canonicalize_name(parsed.name)
        written = str(parsed)
        if str(Requirement(written)) != written:
            raise InvalidRequirement("a quotation mark inside a marker")
    except InvalidRequirement as error:
        reason = " ".join(str(error).split())
        hint = "Write NAME @ ADDRESS" if "://" in line else "Write NAME, NAME==VERSION or NAME>=VERSION, one per line, without options"
        raise _refused(line, where, reason[:120], hint) from None
    if parsed.url:
        check_address(parsed.url, where, allow_urls=allow_urls, schemes=_PACKAGE_SCHEMES)
    rest = written.replace(parsed.url, "").replace("@", "", 1) if parsed.url else written
    if not _PLAIN.fullmatch(rest) or _OPTION_INSIDE.search(rest):
        raise _refused(line, where, "a part of it could be taken for an option or a path", "Write NAME, NAME==VERSION or NAME>=VERSION")
    return written


def _refused(line: str, where: str, reason: str, hint: str) -> InstallError:
    return InstallError(f"{where}: '{line[:80]}' is not a usable requirement ({reason}). {hint}.")


def formats(value: str, where: str) -> str:
    """Return the value of ``--only-binary`` or ``--no-binary``: ``:all:``, ``:none:`` or names separated by commas.

    Raises:
        InstallError: the value has another form.
    """
    from packaging.utils import canonicalize_name

    names = value.split(",")
    if not all(each in (":all:", ":none:") or _NAME.fullmatch(each) for each in names):
        raise InstallError(f"{where}: '{value[:80]}' must be :all:, :none:, or package names separated by commas. Correct the line.")
    return ",".join(each if each.startswith(":") else canonicalize_name(each) for each in names)


def is_address(value: str) -> bool:
    """Return True if a value that may name a folder begins like an address."""
    return "://" in value or bool(_ADDRESS.match(value))


def check_address(address: str, where: str, *, allow_urls: bool, schemes: tuple[str, ...] = _INDEX_SCHEMES) -> str:
    """Check and return an address of packages.

    Raises:
        InstallError: addresses are not allowed, or this one is not.
    """
    try:
        parts = urlsplit(address)
        scheme, host = parts.scheme.lower(), parts.hostname or ""
    except ValueError:
        scheme, host, parts = "", "", urlsplit("")
    if scheme.rpartition("+")[2] == "file":
        raise InstallError(f"{where}: files outside the module are not read. Put the package into a folder of the module: --find-links DIR")
    if not allow_urls:
        raise InstallError(
            f"{where}: packages come from your own package index, not from the address '{address[:80]}' that the module names. "
            "If you trust it: hub install --allow-urls"
        )
    # git would read a word that begins with "-" as an option
    if scheme not in schemes or not host or parts.netloc.startswith("-") or "@-" in address or not _URL.fullmatch(address):
        raise InstallError(
            f"{where}: '{address[:80]}' is not a supported address. Write https://HOST/PATH, or for a package "
            "NAME @ https://HOST/PATH or NAME @ git+https://HOST/REPOSITORY@COMMIT."
        )
    return address
