"""Which packages a module needs by way of what it imports from beside its folder: a project's ``tools`` imports others in turn.

Only files that such an import runs are read, and of these only what they import when they are imported themselves.
"""

import ast
import sys
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Set, Tuple

from hubserve.kinds import removed_names
from hubserve.kinds.beside import find_in, is_project
from hubserve.kinds.code_names import CodeNames, read_code_names
from hubserve.kinds.module_scan import Place, is_provided, python_files


def needs_beside(folder: Path, beside: Sequence[Path]) -> Dict[str, Place]:
    """Return the names that are needed beside a module's folder, each with the first place that needs it; nothing is run.

    Args:
        folder: the module's files.
        beside: the folders around it, the nearest first.
    """
    walk = _Walk(beside)
    for path in python_files(folder):
        with suppress(OSError, ValueError):
            walk.follow_own(read_code_names(path))
    walk.go()
    return walk.needed


def imports_beside(folder: Path, beside: Sequence[Path]) -> List[str]:
    """Return the top-level names that a module's code imports from beside its folder, sorted."""
    names: Set[str] = set()
    for path in python_files(folder) if beside else ():
        with suppress(OSError, ValueError):
            names.update(each.name.partition(".")[0] for each in read_code_names(path).imports)
    own = [str(folder), *sys.path]
    folders = [str(each) for each in beside]
    return sorted(
        each for each in names if not is_provided(each, ()) and PathFinder.find_spec(each, own) is None and find_in(folders, each)
    )


class _Walk:
    def __init__(self, beside: Sequence[Path]) -> None:
        self._beside = [str(each) for each in beside]
        self._roots = set(beside)
        self._seen: Set[Path] = set()
        self._pending: List[Tuple[Path, str]] = []
        self.needed: Dict[str, Place] = {}

    def follow_own(self, names: CodeNames) -> None:
        """Follow what a file of the module's own imports; what it needs of packages is known."""
        for each in (*names.imports, *names.uses):
            if not each.optional:
                self._follow(each.name)

    def go(self) -> None:
        """Read every file that is imported, and what those import."""
        while self._pending:
            path, package = self._pending.pop()
            with suppress(OSError, ValueError, SyntaxError, RecursionError):
                self._read(path, package)

    def _read(self, path: Path, package: str) -> None:
        names = read_code_names(path)
        for each in names.imports:
            # many files put their own folder, or one above it, on the path before they import from there
            if each.optional or each.in_function or self._follow(each.name) or self._follow(each.name, self._above(path)):
                continue
            removed = removed_names.find(each.name)
            lacking = removed if removed and not removed_names.has_replacement(removed) else each.name.partition(".")[0]
            if lacking == removed or not is_provided(lacking, ()):
                self.needed.setdefault(lacking, Place(self._shown(path), each.line, False))
        for each in names.uses:
            if not (each.optional or each.in_function):
                self._follow(each.name)
        for name in _relative_imports(path, package):
            self._follow(name)

    def _shown(self, path: Path) -> str:
        above = self._above(path)
        return path.relative_to(above[-1]).as_posix() if above else str(path)

    def _above(self, path: Path) -> List[str]:
        """Return the folders above a file that are beside the module, or inside of such a folder; the nearest first."""
        return [str(each) for each in path.parents if each in self._roots or not self._roots.isdisjoint(each.parents)]

    def _follow(self, name: str, folders: Sequence[str] = ()) -> bool:
        """Note the files that an import runs; whether it lies beside."""
        parts = name.split(".")
        spec = find_in(folders or self._beside, parts[0])
        if spec is None:
            return False
        places = [Path(each) for each in spec.submodule_search_locations or ()]
        if spec.origin and not is_project(spec):  # a project's own __init__.py may fail: it is done without then
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

    def _add(self, path: Path, package: str) -> None:
        if path not in self._seen:
            self._seen.add(path)
            self._pending.append((path, package))


def _first(paths: Iterator[Path]) -> Optional[Path]:
    return next((each for each in paths if each.is_file()), None)


def _relative_imports(path: Path, package: str) -> Iterator[str]:
    """Yield the full names of what a file imports relative to itself, outside of functions."""
    pending: List[ast.AST] = [ast.parse(path.read_bytes())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package.split(".")[: max(0, len(package.split(".")) - node.level + 1)]
            inner = [*base, *([node.module] if node.module else [])]
            yield ".".join(inner)
            for each in node.names:
                yield ".".join([*inner, each.name])
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            pending.extend(ast.iter_child_nodes(node))
