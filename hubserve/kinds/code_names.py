"""Read the names that a Python file imports and uses, from its source alone."""

import ast
import warnings
from pathlib import Path
from typing import Any, Dict, FrozenSet, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple

_MAX_SOURCE_BYTES = 8 << 20
NO_IMPORT = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})
_NO_ATTRIBUTE = frozenset({"AttributeError", "Exception", "BaseException"})
_IMPORTERS = frozenset({"importlib.import_module", "importlib.__import__", "__import__"})


class Found(NamedTuple):
    """One use of a name in a file.

    Attributes:
        name: dotted, without aliases: ``numpy.float`` for ``np.float``.
        line: in the file.
        optional: the code handles its absence.
        in_function: it is needed when a function runs, not when the file is imported.
        call: of a call, the number of positional arguments and the names of the others.
    """

    name: str
    line: int
    optional: bool
    in_function: bool
    call: Optional[Tuple[int, Tuple[str, ...]]] = None


class CodeNames(NamedTuple):
    """The names that a file uses.

    Attributes:
        imports: modules: ``a.b`` for ``import a.b`` and ``from a.b import c``.
        uses: names in imported modules: ``a.b.c`` for ``from a.b import c`` and for ``a.b.c(...)``.
        methods: attributes of other objects that are called.
        module_names: the names given to ``@moduleinfo``.
    """

    imports: Tuple[Found, ...]
    uses: Tuple[Found, ...]
    methods: Tuple[Found, ...]
    module_names: Tuple[str, ...]


def read_code_names(path: Path) -> CodeNames:
    """Parse one file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not Python 3, is too large or is nested too deeply; the message says where.
    """
    if path.stat().st_size > _MAX_SOURCE_BYTES:
        raise ValueError(f"it is larger than {_MAX_SOURCE_BYTES >> 20} MiB")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "invalid escape sequence" of old code
            tree = ast.parse(path.read_bytes(), str(path))  # bytes: a byte order mark and a coding line count
        reader = _Reader()
        reader.aliases = _aliases(tree)
        reader.visit(tree)
    except SyntaxError as error:
        raise ValueError(f"line {error.lineno or 1}: {error.msg}") from error
    except (RecursionError, MemoryError) as error:
        raise ValueError("it is nested too deeply") from error
    return CodeNames(tuple(reader.imports), tuple(reader.uses), tuple(reader.methods), tuple(reader.module_names))


def _aliases(tree: ast.AST) -> Dict[str, Set[str]]:
    """Return the dotted names that each imported name of a file stands for; several if it is imported more than once."""
    aliases: Dict[str, Set[str]] = {}
    for node in ast.walk(tree):
        for name, target in _bound(node):
            aliases.setdefault(name, set()).add(target)
    return aliases


def _bound(node: ast.AST) -> Iterator[Tuple[str, str]]:
    if isinstance(node, ast.Import):
        for each in node.names:
            yield (each.asname, each.name) if each.asname else (each.name.split(".")[0],) * 2
    elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
        for each in node.names:
            if each.name != "*":
                yield each.asname or each.name, f"{node.module}.{each.name}"


class _Reader(ast.NodeVisitor):
    """Visitor that collects names with their context."""

    def __init__(self) -> None:
        self.aliases: Dict[str, Set[str]] = {}
        self.imports: List[Found] = []
        self.uses: List[Found] = []
        self.methods: List[Found] = []
        self._calls: Dict[ast.AST, Tuple[int, Tuple[str, ...]]] = {}
        self.module_names: List[str] = []
        self._guards: List[Set[str]] = []
        self._functions = 0

    def _found(self, name: str, node: ast.AST, guard: FrozenSet[str]) -> Found:
        optional = any(each & guard for each in self._guards)
        return Found(name, getattr(node, "lineno", 1), optional, self._functions > 0, self._calls.get(node))

    def visit_Import(self, node: ast.Import) -> None:
        self.imports.extend(self._found(each.name, node, NO_IMPORT) for each in node.names)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.level or not node.module:
            return
        self.imports.append(self._found(node.module, node, NO_IMPORT))
        self.uses.extend(self._found(f"{node.module}.{each.name}", node, NO_IMPORT) for each in node.names if each.name != "*")

    def visit_Try(self, node: ast.Try) -> None:
        self._guards.append({name for handler in node.handlers for name in caught(handler.type)})
        for each in node.body:
            self.visit(each)
        self._guards.pop()
        # the alternative in the handler is not required by itself, either
        for handler in node.handlers:
            self._guards.append(caught(handler.type))
            self.generic_visit(handler)
            self._guards.pop()
        for each in (*node.orelse, *node.finalbody):
            self.visit(each)

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        only_for_types = _last(node.test) == "TYPE_CHECKING" or is_main(node.test)
        self._guards.append(set(NO_IMPORT | _NO_ATTRIBUTE) if only_for_types else set())
        for each in node.body:
            self.visit(each)
        self._guards.pop()
        for each in node.orelse:
            self.visit(each)

    def visit_FunctionDef(self, node: Any) -> None:
        for each in (*node.decorator_list, node.args):
            self.visit(each)
        self._functions += 1
        for each in node.body:
            self.visit(each)
        self._functions -= 1

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._functions += 1
        self.generic_visit(node)
        self._functions -= 1

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and _last(decorator.func) == "moduleinfo":
                values = [each.value for each in decorator.keywords if each.arg == "name"]
                self.module_names.extend(each for each in map(_literal, values) if each)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        targets = self._targets(node.func)
        self._calls[node.func] = (len(node.args), tuple(each.arg or "**" for each in node.keywords))
        first = _literal(node.args[0]) if node.args else None
        if first and not first.startswith(".") and (_IMPORTERS & set(targets) or _last(node.func) == "__import__"):
            self.imports.append(self._found(first, node, NO_IMPORT))
        if isinstance(node.func, ast.Attribute) and not targets:
            self.methods.append(self._found(node.func.attr, node, _NO_ATTRIBUTE))
        self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        targets = self._targets(node)
        self.uses.extend(self._found(each, node, _NO_ATTRIBUTE) for each in targets)
        if not targets:
            self.generic_visit(node)

    def _targets(self, node: ast.AST) -> Sequence[str]:
        parts: List[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ()
        return [".".join([each, *reversed(parts)]) for each in sorted(self.aliases.get(node.id, ()))]


def caught(node: Optional[ast.AST]) -> Set[str]:
    """Return the names of the errors that an ``except`` catches."""
    if node is None:
        return {"BaseException"}
    return {_last(each) for each in (node.elts if isinstance(node, ast.Tuple) else [node])}


def _last(node: ast.AST) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def is_main(node: ast.AST) -> bool:
    """Return True if the test is ``__name__ == "__main__"``."""
    return isinstance(node, ast.Compare) and _last(node.left) == "__name__"


def _literal(node: ast.AST) -> Optional[str]:
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, str) else None
