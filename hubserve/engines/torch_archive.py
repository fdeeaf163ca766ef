"""Check archives of ``torch.export`` before PyTorch reads them: it evaluates some of their texts, and unpickles some of their entries.

PyTorch finds the operators of a graph by name among everything in ``torch``, gives the sizes of its tensors to ``eval``, and the
conditions of its inputs to ``exec``. Only names of operators and plain arithmetic pass here.
"""

import ast
import json
import re
import zipfile
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

from hubserve.errors import LoadFailed

_TARGET = re.compile(
    r"torch\.ops\.(?!load_library|import_module)\w+\.\w+(\.\w+)?|_operator\.\w+|math\.\w+|torch\.(_sym|sym)_\w+|torch\.sym_\w+|#\w+"
)
#: functions of the module operator that call what they are given
_CALLING = ("_operator.call", "_operator.methodcaller", "_operator.attrgetter")
_NODES = (
    *(
        ast.Expression,
        ast.Name,
        ast.Load,
        ast.Constant,
        ast.Subscript,
        ast.Attribute,
        ast.Call,
        ast.keyword,
        ast.Tuple,
        ast.List,
        ast.IfExp,
    ),
    *(
        ast.BinOp,
        ast.UnaryOp,
        ast.BoolOp,
        ast.Compare,
        ast.operator,
        ast.unaryop,
        ast.boolop,
        ast.cmpop,
        getattr(ast, "Index", ast.Load),
    ),  # Python 3.8
)
#: of tensors, in conditions on inputs
_ATTRIBUTES = ("size", "stride", "storage_offset", "shape", "ndim", "dim", "numel", "dtype", "device", "is_integer")
#: functions of sizes; sympy's and torch's own begin with a capital
_FUNCTIONS = ("max", "min", "abs", "int", "float", "bool", "len", "floor", "ceiling", "sqrt", "log", "log2", "exp", "round", "pow")
_LARGEST_JSON_BYTES = 512 << 20
#: keys of the JSON whose texts PyTorch evaluates
_EVALUATED = ("expr_str", "guards_code")
_RESOLVED = ("target", "as_operator")
#: contexts of nested inputs that import modules by name
_IMPORTING = ("__enum__", "default_factory_module")
#: entries that pickle.loads opens
_PICKLED = "opaque_obj"


def check_archive(path: Path) -> List[str]:
    """Check all that PyTorch would evaluate.

    Returns:
        The devices that the archive was saved on: "cpu", "cuda".

    Raises:
        LoadFailed: the archive is damaged, or holds more than a graph of operators.
    """
    devices: Dict[str, None] = {}
    for name, document in _documents(path):
        for key, value in _pairs(document):
            if key in _RESOLVED and isinstance(value, str):
                _check_target(path, value)
            elif key in _EVALUATED:
                for text in value if isinstance(value, list) else [value]:
                    _check_expression(path, text)
            elif key == "path_name" and str(value).startswith(_PICKLED):
                raise _refused(path, f"a pickled object in {name.rpartition('/')[2]}, which can run anything")
            elif isinstance(value, str) and any(each in value for each in _IMPORTING):
                raise _refused(path, "inputs or outputs in enumerations or dictionaries with defaults, which import code by name")
            elif key == "device" and isinstance(value, dict):
                devices[str(value.get("type"))] = None
    return list(devices)


def write_for_cpu(path: Path, target: Path) -> None:
    """Write a copy of an archive that was saved on a GPU as if it had been saved on the CPU."""
    with zipfile.ZipFile(str(path)) as archive, zipfile.ZipFile(str(target), "w", zipfile.ZIP_STORED) as copy:
        for entry in archive.infolist():
            if entry.filename.endswith(".json"):
                document = json.loads(archive.read(entry))
                _move(document)
                copy.writestr(entry.filename, json.dumps(document))
                continue
            with archive.open(entry) as source, copy.open(entry.filename, "w", force_zip64=True) as sink:
                for chunk in iter(lambda: source.read(1 << 20), b""):
                    sink.write(chunk)


def _move(document: Any) -> None:
    for value in document.values() if isinstance(document, dict) else document if isinstance(document, list) else ():
        if isinstance(value, dict) and set(value) == {"type", "index"} and value["type"] == "cuda":
            value.update(type="cpu", index=None)
        _move(value)


def _documents(path: Path) -> Iterator[Tuple[str, Any]]:
    try:
        with zipfile.ZipFile(str(path)) as archive:
            for entry in archive.infolist():
                # PyTorch takes a model's description under any ending
                if entry.filename.endswith(".json") or "models/" in entry.filename:
                    if entry.file_size > _LARGEST_JSON_BYTES:
                        raise LoadFailed(f"'{path.name}' describes its graph in {entry.file_size} bytes, more than are read here.")
                    yield entry.filename, json.loads(archive.read(entry))
    except (OSError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile) as error:
        raise LoadFailed(f"'{path}' is damaged or cut short: {error}. Export or copy the model again.") from None


def _pairs(document: Any) -> Iterator[Tuple[str, Any]]:
    waiting = [document]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict):
            yield from each.items()
            waiting.extend(each.values())
        elif isinstance(each, list):
            waiting.extend(each)


def _check_target(path: Path, target: str) -> None:
    if not _TARGET.fullmatch(target) or target in _CALLING:
        raise _refused(path, f"the name '{target[:80]}' in place of an operator")


def _check_expression(path: Path, text: Any) -> None:
    try:
        tree = ast.parse(str(text).strip(), mode="eval")
        fits = all(_is_plain(node) for node in ast.walk(tree))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        fits = False
    if not fits:
        raise _refused(path, f"the text '{str(text)[:80]}' in place of a size")


def _is_plain(node: ast.AST) -> bool:
    if not isinstance(node, _NODES):
        return False
    if isinstance(node, ast.Name):
        return "__" not in node.id
    if isinstance(node, ast.Attribute):
        return node.attr in _ATTRIBUTES or (
            isinstance(node.value, ast.Name) and node.value.id in ("math", "torch") and "_" not in node.attr[:1]
        )
    if isinstance(node, ast.Call):
        called = node.func
        texts = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        return all(re.fullmatch(r"\w+", each) for each in texts) and (
            (isinstance(called, ast.Name) and (called.id[:1].isupper() or called.id in _FUNCTIONS))
            or (isinstance(called, ast.Attribute) and (called.attr in _ATTRIBUTES or _is_of_math(called)))
        )
    return True


def _is_of_math(called: ast.Attribute) -> bool:
    return isinstance(called.value, ast.Name) and called.value.id == "math"


def _refused(path: Path, what: str) -> LoadFailed:
    return LoadFailed(
        f"'{path.name}' was not opened: it holds {what}. Get the model again from a source that you trust, and export it plainly."
    )
