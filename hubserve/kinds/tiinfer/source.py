"""Read the metadata of a tiinfer script from its source, without running it."""

import ast
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Set

from hubserve.kinds.model_file import valid_name
from hubserve.kinds.source import parse_source, python_of

SCRIPT = "model_service.py"
FIRST_VERSION = "1.0.0"


class ScriptSource(NamedTuple):
    """The metadata of a script.

    Attributes:
        name: ``self.model_name``, or the name of the folder.
        version: ``__version__`` of the script, or 1.0.0.
        summary: the first line of the class's docstring.
        workers: ``self.workers``; 0 if the script does not set it to a number.
        python: the requirements in ``hub.json``; see :func:`hubserve.kinds.source.python_of`.
    """

    name: str
    version: str
    summary: str
    workers: int
    python: Dict[str, Any]


def read_script(folder: Path) -> ScriptSource:
    """Read a script's metadata; what is not a literal in the source counts as not set.

    Raises:
        LoadFailed: the script cannot be read or parsed, or ``hub.json`` is wrong.
    """
    tree = parse_source(folder / SCRIPT)
    constants = _constants(tree.body)
    model = _model_class(tree)
    own = _attributes(model, _classes(tree), constants) if model else {}
    name, workers = own.get("model_name"), own.get("workers")
    return ScriptSource(
        name=valid_name(name if isinstance(name, str) and name.strip() else folder.resolve().name),
        version=_version(constants.get("__version__")),
        summary=_summary(model),
        workers=workers if isinstance(workers, int) and not isinstance(workers, bool) and workers > 0 else 0,
        python=python_of(folder, {}),
    )


def _version(value: Any) -> str:
    return value if isinstance(value, str) and value else FIRST_VERSION


def _summary(model: Optional[ast.ClassDef]) -> str:
    text = ast.get_docstring(model) if model else None
    return (text or "").strip().partition("\n")[0]


def _classes(tree: ast.Module) -> Dict[str, ast.ClassDef]:
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _model_class(tree: ast.Module) -> Optional[ast.ClassDef]:
    """Return the first class, by name, that derives from ``tiinfer.Model``; None if the file defines none."""
    packages, models = {"tiinfer"}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            packages |= {each.asname for each in node.names if each.name == "tiinfer" and each.asname}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "tiinfer":
            models |= {each.asname or each.name for each in node.names if each.name == "Model"}
    classes = _classes(tree)
    found = [name for name in classes if _derives(name, classes, packages, models, set())]
    return classes[min(found)] if found else None


def _derives(name: str, classes: Dict[str, ast.ClassDef], packages: Set[str], models: Set[str], seen: Set[str]) -> bool:
    if name in seen or name not in classes:
        return False
    for base in classes[name].bases:
        if isinstance(base, ast.Name) and (base.id in models or _derives(base.id, classes, packages, models, {*seen, name})):
            return True
        if isinstance(base, ast.Attribute) and base.attr == "Model" and _root(base) in packages:
            return True
    return False


def _root(node: ast.AST) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _attributes(model: ast.ClassDef, classes: Dict[str, ast.ClassDef], constants: Dict[str, Any]) -> Dict[str, Any]:
    """Return the literals that a class and its constructor assign to attributes, with those of its bases in the same file."""
    found: Dict[str, Any] = {}
    for node in reversed(_lineage(model, classes)):
        found.update(_constants(node.body, constants))
        for method in node.body:
            if isinstance(method, ast.FunctionDef) and method.name == "__init__" and method.args.args:
                found.update(_set_on(method, method.args.args[0].arg, constants))
    return found


def _lineage(model: ast.ClassDef, classes: Dict[str, ast.ClassDef]) -> List[ast.ClassDef]:
    lineage, position = [model], 0
    while position < len(lineage):
        for base in lineage[position].bases:
            known = classes.get(base.id) if isinstance(base, ast.Name) else None
            if known is not None and known not in lineage:
                lineage.append(known)
        position += 1
    return lineage


def _set_on(method: ast.FunctionDef, me: str, constants: Dict[str, Any]) -> Iterator[Any]:
    for node in ast.walk(method):
        for target, value in _assignments(node):
            if isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == me:
                yield target.attr, _literal(value, constants)


def _constants(body: List[ast.stmt], known: Optional[Dict[str, Any]] = None) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    for node in body:
        for target, value in _assignments(node):
            if isinstance(target, ast.Name):
                found[target.id] = _literal(value, {**(known or {}), **found})
    return found


def _assignments(node: ast.AST) -> Iterator[Any]:
    if isinstance(node, ast.Assign):
        yield from ((target, node.value) for target in node.targets)
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        yield node.target, node.value


def _literal(node: ast.AST, constants: Dict[str, Any]) -> Any:
    """Return the value of a literal or of a constant of the file; None for anything else."""
    if isinstance(node, ast.Constant):
        return node.value
    return constants.get(node.id) if isinstance(node, ast.Name) else None
