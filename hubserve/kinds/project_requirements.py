"""Find the packages that a module needs indirectly, by the code that it imports from beside its folder, such as a project's ``tools``.

Only files that such an import runs are read, and of these only the imports that run with them.
"""

import ast
import os
import sys
import warnings
from contextlib import suppress
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

import hubserve
from hubserve.kinds import removed_names
from hubserve.kinds.code_names import NO_IMPORT, CodeNames, caught, is_main, read_code_names
from hubserve.kinds.module_scan import Place, is_provided, python_files
from hubserve.kinds.project_imports import find_in, is_project


def requirements_beside(folder: Path, beside: Sequence[Path]) -> Dict[str, Place]:
    """Return the missing imports of the code beside a module's folder, each with the first place that needs it; nothing is run.

    Args:
        folder: the module's files.
        beside: the folders around it, the nearest first.
    """
    walk = _ImportWalk(beside)
    for path in python_files(folder):
        with suppress(OSError, ValueError):
            walk.follow_own(read_code_names(path))
    walk.run()
    return walk.needed


def imports_beside(folder: Path, beside: Sequence[Path]) -> List[str]:
    """Return the top-level names that a module's code imports from beside its folder, sorted."""
    names: Set[str] = set()
    for path in python_files(folder) if beside else ():
        with suppress(OSError, ValueError):
            names.update(each.name.partition(".")[0] for each in read_code_names(path).imports)
    hidden = ("", os.getcwd(), str(Path(hubserve.__file__).resolve().parent.parent))  # not on the path of an instance
    own = [str(folder), *(each for each in sys.path if each not in hidden)]
    folders = [str(each) for each in beside]
    return sorted(
        each for each in names if not is_provided(each, ()) and PathFinder.find_spec(each, own) is None and find_in(folders, each)
    )


class _ImportWalk:
    """A walk along imports, from file to file, in the folders beside a module.

    Attributes:
        needed: missing import -> the first place that needs it.
    """

    def __init__(self, beside: Sequence[Path]) -> None:
        self._beside = [str(each) for each in beside]
        self._roots = set(beside)
        self._seen: Set[Path] = set()
        self._found: Dict[Tuple[str, ...], Optional[ModuleSpec]] = {}
        self._pending: List[Tuple[Path, str]] = []
        self.needed: Dict[str, Place] = {}

    def follow_own(self, names: CodeNames) -> None:
        """Follow the imports of one of the module's own files, whose requirements are known already."""
        for each in (*names.imports, *names.uses):
            if not each.optional:
                self._follow(each.name)

    def run(self) -> None:
        """Read every file that is imported, directly or indirectly."""
        while self._pending:
            path, package = self._pending.pop()
            with suppress(OSError, ValueError, SyntaxError, RecursionError), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "invalid escape sequence" of old code
                self._read(path, package)

    def _read(self, path: Path, package: str) -> None:
        for each in _imports(ast.parse(path.read_bytes(), str(path)), package):
            # many files put their own folder, or one above it, on the path before they import from there
            if each.optional or self._follow(each.name) or self._follow(each.name, self._above(path)) or each.is_part:
                continue
            removed = removed_names.find(each.name)
            lacking = removed if removed and not removed_names.has_replacement(removed) else each.name.partition(".")[0]
            if lacking == removed or not is_provided(lacking, ()):
                self.needed.setdefault(lacking, Place(self._shown(path), each.line, False))

    def _shown(self, path: Path) -> str:
        above = self._above(path)
        return path.relative_to(above[-1]).as_posix() if above else str(path)

    def _above(self, path: Path) -> List[str]:
        """Return the folders above a file that are beside the module, or inside of such a folder; the nearest first."""
        return [str(each) for each in path.parents if each in self._roots or not self._roots.isdisjoint(each.parents)]

    def _follow(self, name: str, folders: Sequence[str] = ()) -> bool:
        """Add the files that an import runs; return True if they are beside the module."""
        if is_provided(name.partition(".")[0], ()):
            return False  # it comes before files beside the module: a checkout of PaddleHub has a folder paddlehub, too
        parts = name.split(".")
        spec = self._find(parts[0], folders or self._beside)
        if spec is None:
            return False
        places = [Path(each) for each in spec.submodule_search_locations or ()]
        if spec.origin and not is_project(spec):  # a project's own __init__.py may fail
            self._add(Path(spec.origin), parts[0] if places else "")
        for depth, part in enumerate(parts[1:], start=2):
            package = ".".join(parts[:depth])
            init = _first(place / part / "__init__.py" for place in places)
            if init is not None:
                self._add(init, package)
            else:
                file = _first(place / f"{part}.py" for place in places)
                if file is not None:
                    self._add(file, ".".join(parts[: depth - 1]))
            places = [place / part for place in places if (place / part).is_dir()]
        return True

    def _find(self, name: str, folders: Sequence[str]) -> Optional[ModuleSpec]:
        key = (name, *folders)
        if key not in self._found:
            self._found[key] = find_in(folders, name)
        return self._found[key]

    def _add(self, path: Path, package: str) -> None:
        if path not in self._seen:
            self._seen.add(path)
            self._pending.append((path, package))


def _first(paths: Iterator[Path]) -> Optional[Path]:
    return next((each for each in paths if each.is_file()), None)


class _Import(NamedTuple):
    """One import of a file.

    Attributes:
        name: in full.
        line: in the file.
        optional: the file handles its absence.
        is_part: it is relative, or may be an attribute, so that it is not a package by itself.
    """

    name: str
    line: int
    optional: bool
    is_part: bool = False


def _imports(tree: ast.AST, package: str) -> Iterator[_Import]:
    """Yield the imports that run when the file is imported."""
    pending: List[Tuple[ast.AST, bool]] = [(tree, False)]
    while pending:
        node, optional = pending.pop()
        if isinstance(node, ast.Import):
            yield from (_Import(each.name, node.lineno, optional) for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            base = parts[: max(0, len(parts) - node.level + 1)] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            yield _Import(name, node.lineno, optional, bool(node.level))
            yield from (_Import(f"{name}.{each.name}", node.lineno, optional, True) for each in node.names)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            pending.extend(_statements(node, optional))


def _statements(node: ast.AST, optional: bool) -> Iterator[Tuple[ast.AST, bool]]:
    """Yield the statements inside a statement, and whether the file handles their failure."""
    handlers: List[ast.ExceptHandler] = getattr(node, "handlers", [])
    is_tried = any(NO_IMPORT & caught(each.type) for each in handlers)
    is_aside = isinstance(node, ast.If) and is_main(node.test)
    yield from ((each, optional or is_tried or is_aside) for each in getattr(node, "body", ()))
    yield from ((each, True) for handler in handlers for each in handler.body)
    yield from ((each, optional) for field in ("orelse", "finalbody") for each in getattr(node, field, ()))
