"""Schemas from the annotations of Python arguments, which are read as text and never evaluated."""

import ast
from typing import Any

from hubserve.protocols.openapi.texts import characters

_LONGEST = 300
_DEEPEST = 8
_TYPES: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "dict": {"type": "object"},
    **{name: {"type": "array", "items": {}} for name in ("list", "tuple", "set", "sequence", "iterable", "collection")},
    **{name: {"type": "object"} for name in ("mapping", "mutablemapping", "ordereddict", "defaultdict")},
}
_NULL = {"nullable": True}


def schema_of(annotation: str) -> dict[str, Any]:
    """Return the schema of values that an annotation allows; ``{}``, which allows any, where that is not clear."""
    try:
        return _schema(ast.parse(annotation, mode="eval").body, 0) if 0 < len(annotation) <= _LONGEST else {}
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the parser's, for texts of any sort
        return {}


def _schema(node: ast.expr, depth: int) -> dict[str, Any]:
    if depth > _DEEPEST:
        return {}
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _union([node.left, node.right], depth)
    if isinstance(node, ast.Subscript):
        inner = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        return _generic(_name(node.value), inner, depth)
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            return _schema(ast.parse(node.value, mode="eval").body, depth + 1)
        return dict(_NULL) if node.value is None else {}
    name = _name(node)
    return dict(_NULL) if name == "nonetype" else dict(_TYPES.get(name, {}))


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr.lower()
    return node.id.lower() if isinstance(node, ast.Name) else ""


def _generic(name: str, inner: list[ast.expr], depth: int) -> dict[str, Any]:
    if not inner:
        return {}
    if name == "optional":
        return {**_schema(inner[0], depth + 1), **_NULL}
    if name == "union":
        return _union(inner, depth)
    if name == "annotated":
        return _schema(inner[0], depth + 1)
    if name == "literal":
        return _literal(inner)
    base = dict(_TYPES.get(name, {}))
    if base.get("type") == "array":
        same = name != "tuple" or (len(inner) == 2 and isinstance(inner[1], ast.Constant) and inner[1].value is Ellipsis)
        base["items"] = _schema(inner[0], depth + 1) if same else {}
    elif base.get("type") == "object" and len(inner) == 2:
        base["additionalProperties"] = _schema(inner[1], depth + 1)
    return base


def _union(nodes: list[ast.expr], depth: int) -> dict[str, Any]:
    schemas = [_schema(each, depth + 1) for each in nodes]
    null = _NULL if any(each.get("nullable") for each in schemas) else {}
    others = [{key: value for key, value in each.items() if key != "nullable"} for each in schemas if each != _NULL]
    if not others or {} in others:
        return dict(null)
    if {each.get("type") for each in others} == {"integer", "number"}:
        return {"type": "number", **null}
    return {**others[0], **null} if all(each == others[0] for each in others) else dict(null)


def _literal(nodes: list[ast.expr]) -> dict[str, Any]:
    texts = [characters(each.value) for each in nodes if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    return {"type": "string", "enum": list(dict.fromkeys(texts))} if len(texts) == len(nodes) else {}
