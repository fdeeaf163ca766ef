"""Import modules whose annotations use undefined names: ``def scale(size: Tuple[int])`` without the import of ``Tuple``.

The code does not need its annotations, and Python 3.14 and newer do not evaluate them. Older ones end the import with a NameError.
"""

import __future__

import ast
import sys
import traceback
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from types import CodeType, ModuleType
from typing import Any, Iterator, Optional, Set

from hubserve.kinds.removed_names.usage_log import is_of_user

#: the most files of one module that may have such annotations
_MOST_FILES = 50


def import_leniently(name: str) -> ModuleType:
    """Import a module; a file that fails because of a name in an annotation is imported again with its annotations unevaluated."""
    for _ in range(_MOST_FILES):
        try:
            return import_module(name)
        except NameError as error:
            file = _file_of_annotation(error)
            finder = _finder()
            if file is None or file in finder.files:
                raise
            finder.files.add(file)
    return import_module(name)


def _file_of_annotation(error: NameError) -> Optional[str]:
    """Return the file whose annotation raised the error, and log it; None if the error has another cause."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    name = getattr(error, "name", None) or str(error).partition("'")[2].partition("'")[0]
    try:
        with open(frame.filename, "rb") as source:
            tree = ast.parse(source.read())
    except (OSError, SyntaxError, ValueError):
        return None
    named = (each for annotation in _annotations(tree) for each in ast.walk(annotation) if isinstance(each, ast.Name) and each.id == name)
    first = next((each for each in named), None)
    if first is None or _is_bound(tree, name) or not is_of_user(frame.filename):
        return None
    sys.stderr.write(
        f"{frame.filename}, line {first.lineno}: '{name}' in an annotation is not defined; the file's annotations are left out\n"
    )
    return frame.filename


def _annotations(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        found = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        yield from (each for each in found if isinstance(each, ast.AST))


def _is_bound(tree: ast.AST, name: str) -> bool:
    """Return True if the file binds the name anywhere: then the order of its statements is the cause, not an annotation."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)) and any((each.asname or each.name.split(".")[0]) == name for each in node.names):
            return True
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name == name:
            return True
    return False


def _finder() -> "_WithoutAnnotations":
    for each in sys.meta_path:
        if isinstance(each, _WithoutAnnotations):
            return each
    finder = _WithoutAnnotations()
    sys.meta_path.insert(0, finder)
    return finder


class _WithoutAnnotations(MetaPathFinder):
    """Finder of the files whose annotations must stay unevaluated."""

    def __init__(self) -> None:
        self.files: Set[str] = set()

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Optional[ModuleSpec]:
        """Return a spec for the files of the set only."""
        found = PathFinder.find_spec(fullname, path, target)
        if found is None or found.origin not in self.files or found.origin is None:
            return None
        loader = _Loader(fullname, found.origin)
        return spec_from_file_location(fullname, found.origin, loader=loader, submodule_search_locations=found.submodule_search_locations)


class _Loader(SourceFileLoader):
    """Loader that compiles a file as if it began with ``from __future__ import annotations``; cached bytecode is not used."""

    def get_code(self, fullname: str) -> Optional[CodeType]:
        """Compile the source."""
        path = self.get_filename(fullname)
        flags = __future__.annotations.compiler_flag
        code: CodeType = compile(self.get_data(path), path, "exec", flags=flags, dont_inherit=True)
        return code
