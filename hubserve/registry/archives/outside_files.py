"""Find files outside a module's folder that it reads, such as a model beside it, so that they can be packed with it.

A module names them by relative paths, which are looked up in the folder that it was installed from and in that folder's parent (see
:func:`hubserve.module.find_folder`). An archive with such files has a folder ``.assets``: the needed part of the tree around the module,
and ``assets.json``, which gives the position of the module's folder in it. Looked up from there, its relative paths work unchanged.
"""

import ast
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from hubserve.errors import InstallError
from hubserve.kinds.project_imports import folders_beside
from hubserve.kinds.project_requirements import imports_beside
from hubserve.registry.archives.extraction import safe_parts

FOLDER = ".assets"
INDEX = "assets.json"
_SCHEMA_VERSION = 1
_MAX_LITERAL = 1024
_MAX_SOURCE_BYTES = 8 << 20
#: mark a folder as a model's own
_MODEL_SUFFIXES = frozenset({".pdmodel", ".pdiparams", ".onnx"})
_MODEL_NAMES = frozenset({"__model__"})


class Assets(NamedTuple):
    """Files that a module reads from outside its folder.

    Attributes:
        source: the path in the packed tree that stands for the folder that the module was installed from.
        files: path of each file, and its path in the packed tree.
        named: the paths as they are in the module's sources.
        fixed: absolute paths in the sources that exist here; they cannot be packed.
        beside: what the sources import from beside the folder, such as ``utils``; it cannot be packed either.
    """

    source: PurePosixPath
    files: list[tuple[Path, PurePosixPath]]
    named: list[str]
    fixed: list[str]
    beside: list[str]

    def to_json_text(self) -> str:
        """Return the text of ``assets.json``."""
        return json.dumps({"schema_version": _SCHEMA_VERSION, "source": str(self.source), "named": self.named}, indent=2) + "\n"


def find_assets(folder: Path, source: Path | None = None) -> Assets:
    """Find the files outside a module's folder that its sources name; none of its code is run.

    Args:
        folder: the module's files.
        source: the folder that it was installed from, if that is another one.
    Returns:
        The files, and the content of folders, that are named as relative paths with a ``/``. Of a folder with a model's files, only those
        directly in it; of any other folder, everything.
    Raises:
        InstallError: a file's name cannot be packed.
    """
    source = (source or folder).resolve()
    literals: dict[Path, str] = {}
    fixed = []
    for literal in sorted(set(_literals(folder))):
        if literal.startswith("/"):
            if _is_file_or_folder(Path(literal)) and len(Path(literal).parts) > 2:
                fixed.append(literal)
        elif (found := _look_up(literal, folder, source)) is not None:
            literals.setdefault(found, literal)
    root = Path(os.path.commonpath([source.parent, *(each.parent for each in literals)]))
    files = sorted({each for path in literals for each in _files_of(path)})
    # safe_parts: refuse now what could not be unpacked
    packed = [(each.resolve(), PurePosixPath(*safe_parts(each.relative_to(root).as_posix()))) for each in files]
    beside = imports_beside(folder, folders_beside(folder))
    return Assets(PurePosixPath(source.relative_to(root).as_posix()), packed, sorted(literals.values()), fixed, beside)


def _literals(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.py")):
        if path.stat().st_size > _MAX_SOURCE_BYTES or any(part.startswith(".") for part in path.relative_to(folder).parts):
            continue
        try:
            tree = ast.parse(path.read_bytes())
        except (SyntaxError, ValueError, RecursionError):  # Python could not run it either
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _may_be_a_path(node.value):
                yield node.value


def _may_be_a_path(text: str) -> bool:
    return "/" in text.strip("/") and len(text) <= _MAX_LITERAL and "://" not in text and text.isprintable()


def _look_up(literal: str, folder: Path, source: Path) -> Path | None:
    """Look a relative path up; return None for a part of the module and for a folder that holds it."""
    for base in (source, source.parent):
        found = Path(os.path.normpath(base / literal))
        if _is_file_or_folder(found):
            real, own = found.resolve(), {folder.resolve(), source}
            return None if any(each == real or each in real.parents or real in each.parents for each in own) else found
    return None


def _is_file_or_folder(path: Path) -> bool:
    try:
        return path.is_file() or path.is_dir()
    except OSError:  # a name that no file can have
        return False


def _files_of(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    direct = [each for each in path.iterdir() if each.is_file()]
    if any(each.suffix in _MODEL_SUFFIXES or each.name in _MODEL_NAMES for each in direct):
        return direct
    return [each for each in path.rglob("*") if each.is_file()]


def packed_source(folder: Path) -> PurePosixPath | None:
    """Return the path in an unpacked module that stands for the folder that it was packed from.

    Args:
        folder: the module's files.
    Returns:
        The path, relative to ``folder``; None for a module without assets.
    Raises:
        InstallError: ``assets.json`` is damaged, or names a path outside.
    """
    path = folder / FOLDER / INDEX
    try:
        document = json.loads(path.read_text("utf-8"))
        if document["schema_version"] > _SCHEMA_VERSION:
            raise InstallError(
                f"'{FOLDER}/{INDEX}' was written by a newer hubserve. Upgrade hubserve, or pack the module again with this one."
            )
        parts: Sequence[str] = safe_parts(document["source"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InstallError(f"'{FOLDER}/{INDEX}' is damaged ({type(error).__name__}: {error}). Pack the module again.") from None
    return PurePosixPath(FOLDER, *parts)
