"""Read the requirements of a module's code: the packages that it imports, and the names that newer ones removed."""

import os
import re
import sys
from functools import lru_cache
from pathlib import Path
from typing import Dict, FrozenSet, Iterable, Iterator, List, NamedTuple, Sequence, Set, Tuple

import hubserve
from hubserve.kinds import removed_names
from hubserve.kinds.code_names import CodeNames, Found, read_code_names
from hubserve.kinds.versions import current_version

#: modules of the standard library that are missing from some of Python 3.6 to 3.13
_STANDARD_ONCE = """
    __future__ __main__ _bootlocale _dummy_thread aifc asynchat asyncore audioop binhex cgi cgitb chunk contextvars crypt
    dataclasses distutils dummy_threading formatter graphlib imghdr imp lib2to3 macpath mailcap msilib nis nntplib
    ossaudiodev parser pipes smtpd sndhdr spwd sunau symbol telnetlib tomllib uu xdrlib zoneinfo
"""
#: modules of Python 2 only; code that still imports them has an alternative
_PYTHON_2 = """
    __builtin__ BaseHTTPServer ConfigParser HTMLParser Queue SimpleHTTPServer SocketServer StringIO Tkinter cPickle cStringIO commands
    cookielib copy_reg httplib md5 sets sha thread tkMessageBox urllib2 urlparse
"""
#: files that are not part of the served module
_ASIDE = re.compile(r"(test_.*|.*_test|test|tests|setup|conftest)\.py|(test|tests|testing)/.*")
_SKIPPED_FOLDERS = frozenset({"__pycache__", "node_modules", "site-packages"})


class Place(NamedTuple):
    """The place of a name in the code.

    Attributes:
        file: relative to the module's folder.
        line: in the file.
        optional: the code handles its absence, or is a test of the module.
        in_function: it is needed when a function runs, not when the file is imported.
    """

    file: str
    line: int
    optional: bool
    in_function: bool = False


class ModuleScan(NamedTuple):
    """The requirements of the code of one folder.

    Attributes:
        imports: top-level names that neither the standard library, the folder nor hubserve provides, and where they are imported.
        dotted: the same as dotted names: ``skimage.io`` for ``from skimage.io import imread``.
        removed: names that newer packages removed: ``numpy.float``, ``paddle.fluid``; see :mod:`hubserve.kinds.removed_names`.
        unreadable: files that are not Python 3, and the reasons.
    """

    imports: Dict[str, Tuple[Place, ...]]
    dotted: Dict[str, Tuple[Place, ...]]
    removed: Dict[str, Tuple[Place, ...]]
    unreadable: Dict[str, str]


def scan_module(folder: Path, beside: Sequence[Path] = ()) -> ModuleScan:
    """Read all Python files of a module's folder. Nothing is imported, and unreadable files are not errors.

    Args:
        folder: the module's files.
        beside: further folders that its code can import from; the folder's parent always counts, and so do installed modules.
    """
    read, unreadable = _read(folder)
    own = {folder.name, *_names_of(read.values())}
    places = [folder, folder.parent, *beside]
    imports: Dict[str, List[Place]] = {}
    dotted: Dict[str, List[Place]] = {}
    removed: Dict[str, List[Place]] = {}
    for file, names in read.items():
        for found in names.imports:
            top = found.name.split(".")[0]
            if top not in own and not is_provided(top, places):
                place = _place(file, found, optional=top in _PYTHON_2.split())
                imports.setdefault(top, []).append(place)
                dotted.setdefault(found.name, []).append(place)
        for name, found in _removed(names):
            removed.setdefault(name, []).append(_place(file, found))
    return ModuleScan(_ordered(imports), _ordered(dotted), _ordered(removed), unreadable)


def _read(folder: Path) -> Tuple[Dict[str, CodeNames], Dict[str, str]]:
    read: Dict[str, CodeNames] = {}
    unreadable: Dict[str, str] = {}
    for path in python_files(folder):
        file = path.relative_to(folder).as_posix()
        try:
            read[file] = read_code_names(path)
        except OSError as error:
            unreadable[file] = error.strerror or str(error)
        except ValueError as error:
            unreadable[file] = str(error)
    return read, unreadable


def python_files(folder: Path) -> Iterator[Path]:
    """Yield the Python files of a folder, in order, without hidden folders and those of tools."""
    for place, folders, files in os.walk(str(folder)):
        folders[:] = sorted(each for each in folders if not each.startswith(".") and each not in _SKIPPED_FOLDERS)
        for name in sorted(files):
            if name.endswith(".py"):
                yield Path(place, name)


def _names_of(read: Iterable[CodeNames]) -> Set[str]:
    return {re.sub(r"[-.]", "_", name) for names in read for name in names.module_names}


def is_provided(top: str, places: Sequence[Path]) -> bool:
    """Return True for a top-level name that needs no package: of Python, hubserve, an installed module or one of the places."""
    return top in _standard_names() or top in _compat_names() or any(_holds(each, top) for each in places) or _is_installed(top)


@lru_cache(maxsize=1)
def _standard_names() -> FrozenSet[str]:
    known = getattr(sys, "stdlib_module_names", None)
    return frozenset(known or {*sys.builtin_module_names, *_files_of(Path(os.__file__).parent)}) | frozenset(_STANDARD_ONCE.split())


@lru_cache(maxsize=1)
def _compat_names() -> FrozenSet[str]:
    package = Path(hubserve.__file__).resolve().parent
    return _files_of(package / "compat") | {package.name}


def _files_of(folder: Path) -> FrozenSet[str]:
    return frozenset(each.name.partition(".")[0] for each in folder.iterdir() if not each.name.startswith("__"))


def _holds(folder: Path, top: str) -> bool:
    if (folder / f"{top}.py").is_file() or (folder / top / "__init__.py").is_file():
        return True
    # a folder without __init__.py is a package, too, where there is code in it
    return (folder / top).is_dir() and any((folder / top).glob("*.py"))


def _is_installed(top: str) -> bool:
    return current_version(top) is not None


def _removed(names: CodeNames) -> Iterator[Tuple[str, Found]]:
    for found in names.uses:
        removed = removed_names.find(found.name)
        if removed and not removed_names.is_kept_for(removed, found.call):
            yield removed, found
    for found in names.imports:
        removed = removed_names.find(found.name)
        if removed:
            yield removed, found
    packages = {found.name.split(".")[0] for found in names.imports}
    for found in names.methods:
        for removed in removed_names.find_method(found.name):
            if removed.split(".")[0] in packages:
                yield removed, found


def _place(file: str, found: Found, *, optional: bool = False) -> Place:
    aside = _ASIDE.fullmatch(file) is not None
    return Place(file, found.line, found.optional or optional or aside, found.in_function)


def _ordered(found: Dict[str, List[Place]]) -> Dict[str, Tuple[Place, ...]]:
    return {name: tuple(sorted(set(places))) for name, places in sorted(found.items())}
