"""Read imports, literal settings and signatures from a module's Python files, without running them."""

import ast
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple


class Import(NamedTuple):
    """Package that a file imports.

    Attributes:
        name: its top-level name.
        line: its line.
        optional: whether the file can be imported without it: the import is in a function, or its failure is handled.
    """

    name: str
    line: int
    optional: bool


class Literal(NamedTuple):
    """Key with a literal value: in a dict, as a keyword, a default, or an assignment."""

    key: str
    value: Any
    line: int


class Signature(NamedTuple):
    """Parameters of a method.

    Attributes:
        names: its parameters, without self.
        takes_any: whether it also takes other keywords.
        line: its line.
    """

    names: list[str]
    takes_any: bool
    line: int


def parse(path: Path) -> ast.Module:
    """Return a file's syntax tree.

    Raises:
        OSError: the file cannot be read.
        SyntaxError: the file is not valid Python.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about escapes in strings, for example, which do not matter here
        try:
            return ast.parse(path.read_bytes(), filename=str(path))
        except (ValueError, RecursionError, MemoryError) as error:  # null bytes, or nesting too deep for the parser
            raise SyntaxError(str(error) or type(error).__name__) from None


def imports_of(tree: ast.AST, optional: bool = False) -> Iterator[Import]:
    """Yield every package that is imported by its absolute name."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(each.name.partition(".")[0], node.lineno, optional) for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.module and not node.level:
                yield Import(node.module.partition(".")[0], node.lineno, optional)
        else:
            # imports under "if TYPE_CHECKING" or a test of versions are optional, too
            guarded = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.Try, ast.If))
            yield from imports_of(node, optional or guarded)


def literals_of(tree: ast.AST) -> Iterator[Literal]:
    """Yield every key with a literal text, number or list."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            pairs = [(each.value, value) for each, value in zip(node.keys, node.values, strict=True) if isinstance(each, ast.Constant)]
        elif isinstance(node, ast.Assign):
            pairs = [(_name(target), node.value) for target in node.targets]
        elif isinstance(node, ast.AnnAssign) and node.value:
            pairs = [(_name(node.target), node.value)]
        elif isinstance(node, ast.Call):
            pairs = [(each.arg, each.value) for each in node.keywords]
        elif isinstance(node, ast.arguments):
            positional = [*node.posonlyargs, *node.args]
            pairs = [(each.arg, value) for each, value in zip(reversed(positional), reversed(node.defaults), strict=False)]
            pairs += [(each.arg, value) for each, value in zip(node.kwonlyargs, node.kw_defaults, strict=True) if value]
        else:
            continue
        for key, value in pairs:
            if isinstance(key, str) and key:
                yield from _literal(key, value)


def _literal(key: str, value: ast.expr) -> Iterator[Literal]:
    try:
        yield Literal(key, ast.literal_eval(value), value.lineno)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):  # computed
        return


def _name(node: ast.expr) -> str:
    """Return ``name`` for both ``name`` and ``self.name``."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def hub_classes(tree: ast.AST | None) -> list[ast.ClassDef]:
    """Return the classes under ``@moduleinfo``, in source order."""
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)] if tree else []
    decorated = [
        node for node in classes for each in node.decorator_list if isinstance(each, ast.Call) and _name(each.func) == "moduleinfo"
    ]
    return sorted(decorated, key=lambda node: node.lineno)


def signature_of(node: ast.ClassDef, *methods: str) -> Signature | None:
    """Return the parameters of the first of these methods that the class itself has; None if it has none of them."""
    own = {each.name: each for each in node.body if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))}
    for name in methods:
        if name in own:
            args = own[name].args
            names = [each.arg for each in (*args.posonlyargs, *args.args, *args.kwonlyargs)]
            return Signature(names[1:], args.kwarg is not None, own[name].lineno)
    return None
