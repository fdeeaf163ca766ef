"""Read a module's metadata from its source, without running it.

A module says which Python it needs in ``@moduleinfo(requires_python=..., environment={...})``. Modules that the real PaddleHub must load
as well, whose ``moduleinfo`` takes no further keywords, say it in a file ``hub.json`` with these two keys. One of the two, never both.
"""

import ast
import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Sequence, Set, Tuple, Union

import hubserve
from hubserve.errors import LoadFailed
from hubserve.kinds.base import ModuleInfo

_MAX_SOURCE_BYTES = 8 << 20
_MODELS = ["hubserve", "models"]
_PYTHON_FILE = "hub.json"
_PYTHON_KEYS = ("requires_python", "environment")
#: decorators of the methods that the server calls
_MARKS = ("serving", "runnable", "batch", "pictures")
Method = Union[ast.FunctionDef, ast.AsyncFunctionDef]


#: base class that published modules import -> decorator -> the method that it brings
_KNOWN_BASES: Dict[str, Dict[str, str]] = {
    "EmbeddingModule": {"serving": "calc_similarity"},
    "ImageClassifierModule": {"serving": "serving_method", "runnable": "run_cmd"},
    "ImageColorizeModule": {"serving": "serving_method", "runnable": "run_cmd"},
    "ImageSegmentationModule": {"serving": "serving_method", "runnable": "run_cmd"},
    "ImageServing": {"serving": "serving_method"},
    "NLPPredictionModule": {"runnable": "run_cmd"},
    "StyleTransferModule": {"serving": "serving_method", "runnable": "run_cmd"},
    "TextServing": {"serving": "predict_method"},
    "Yolov3Module": {"serving": "serving_method"},
}


class ModuleClass(NamedTuple):
    """The class under ``@moduleinfo``, as its source describes it."""

    class_name: str
    metadata: Dict[str, Any]
    #: decorator name -> method name, also of base classes in the same file, of hubserve's ready-made ones and of those of PaddleHub
    marked: Dict[str, str]
    #: ``requires_python``, a text, and ``environment``, an object; empty if the module does not say
    python: Dict[str, Any]

    def to_info(self, kind: str) -> ModuleInfo:
        """Return the metadata that ``hub show`` prints."""
        texts: Dict[str, Any] = {
            key: str(self.metadata.get(key) or "") for key in ("name", "version", "author", "author_email", "summary", "type")
        }
        return ModuleInfo(
            kind=kind,
            serving_method=self.marked.get("serving", ""),
            runnable="runnable" in self.marked,
            batches="batch" in self.marked,
            **texts,
            **self.python,
        )


def read_module_class(path: Path) -> ModuleClass:
    """Find the first class of a file that is decorated with a call of ``moduleinfo``.

    Raises:
        LoadFailed: the file cannot be read or parsed or has no such class, name and version are not literal texts, two methods of the class
            carry one decorator, or :func:`python_of` fails.
    """
    tree = parse_source(path)
    bases = _own_bases(tree)
    classes = sorted((node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)), key=lambda node: node.lineno)
    for node in classes:
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and _name(decorator.func) == "moduleinfo":
                inherited = _known_marks([each.value for each in decorator.keywords if each.arg == "meta"])
                _refuse_second_marks(path, node)
                marked = _marked_methods(node, {**bases, **{each.name: each for each in classes}}, set())
                metadata = _metadata(path, decorator)
                return ModuleClass(node.name, metadata, {**inherited, **marked}, python_of(path.parent, metadata))
    raise LoadFailed(f"'{path}' has no class under @moduleinfo(name=..., version=...). Decorate the class that is the module.")


def _own_bases(tree: ast.AST) -> Dict[str, ast.ClassDef]:
    """Return the classes that a file imports from :mod:`hubserve.models`, with their own bases, read from hubserve's sources."""
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[:2] == _MODELS]
    names = {alias.asname or alias.name: alias.name for node in imported for alias in node.names}
    known = _ready_made() if names else {}
    return {**known, **{name: known[original] for name, original in names.items() if original in known}}


@lru_cache(maxsize=1)
def _ready_made() -> Dict[str, ast.ClassDef]:
    files = sorted(Path(hubserve.__file__).with_name("models").glob("*.py"))
    return {node.name: node for path in files for node in ast.walk(parse_source(path)) if isinstance(node, ast.ClassDef)}


def parse_source(path: Path) -> ast.Module:
    """Parse a Python file.

    Raises:
        LoadFailed: it is too large, cannot be read, or is not valid Python; the message says which.
    """
    try:
        if path.stat().st_size > _MAX_SOURCE_BYTES:
            raise LoadFailed(f"'{path}' is over {_MAX_SOURCE_BYTES >> 20} MiB, too large for a module's source.")
        return ast.parse(path.read_bytes(), filename=str(path))
    except OSError as error:
        raise LoadFailed(f"cannot read '{path}': {error.strerror}. Give the folder that holds the module's files.") from None
    except SyntaxError as error:
        raise LoadFailed(f"'{path}' is not valid Python: line {error.lineno}: {error.msg}. Fix the problem and retry.") from None
    except (ValueError, RecursionError, MemoryError) as error:  # null bytes; nesting that no parser takes
        raise LoadFailed(f"'{path}' is not valid Python: {error or type(error).__name__}. Fix the problem and retry.") from None


def _metadata(path: Path, call: ast.Call) -> Dict[str, Any]:
    order = ("name", "version", "author", "author_email", "summary", "type")
    given: List[Any] = [*zip(order, call.args), *((each.arg, each.value) for each in call.keywords if each.arg)]
    metadata = {}
    for key, value in given:
        try:
            metadata[key] = ast.literal_eval(value)
        except ValueError:  # meta=SomeClass, or a computed text: unknown without running the file
            if key in _PYTHON_KEYS:
                raise LoadFailed(f"'{path}', line {call.lineno}: {key}= must be a literal: it is read without running the file.") from None
    for key in ("name", "version"):
        if not isinstance(metadata.get(key), str) or not metadata[key]:
            raise LoadFailed(
                f"'{path}', line {call.lineno}: @moduleinfo needs {key}='...' as a literal text: it is read without running the file."
            )
    return metadata


def _marked_methods(node: ast.ClassDef, classes: Dict[str, ast.ClassDef], seen: Set[str]) -> Dict[str, str]:
    seen.add(node.name)
    marked = _known_marks(node.bases)
    for base in node.bases:
        name = _name(base)
        if name in classes and name not in seen:
            marked.update(_marked_methods(classes[name], classes, seen))
    marked.update((mark, member.name) for member, mark in _own_marks(node))
    return marked


def _own_marks(node: ast.ClassDef) -> Iterator[Tuple[Method, str]]:
    """Yield the methods of a class body that carry a decorator of :data:`_MARKS`, with that decorator."""
    for member in node.body:
        if isinstance(member, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for decorator in member.decorator_list:
                name = _name(decorator.func if isinstance(decorator, ast.Call) else decorator)
                if name in _MARKS:
                    yield member, name


def _refuse_second_marks(path: Path, node: ast.ClassDef) -> None:
    """Refuse two methods under one decorator: only one of them could be reached.

    Raises:
        LoadFailed: there are two.
    """
    first: Dict[str, str] = {}
    for member, mark in _own_marks(node):
        if first.setdefault(mark, member.name) != member.name:
            raise LoadFailed(
                f"'{path}', line {member.lineno}: {node.name}.{member.name} is marked @{mark}, and so is {first[mark]}: a module has one "
                "such method. Mark one, and let an argument of it choose, or make two modules."
            )


def _known_marks(bases: Sequence[ast.AST]) -> Dict[str, str]:
    """Return the marked methods of base classes that are known by name."""
    marked: Dict[str, str] = {}
    for base in reversed(bases):
        marked.update(_KNOWN_BASES.get(_name(base), {}))
    return marked


def _name(node: ast.AST) -> str:
    """Return the last part of a name: ``moduleinfo`` for both ``moduleinfo`` and ``module.moduleinfo``."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def python_of(folder: Path, keywords: Dict[str, Any]) -> Dict[str, Any]:
    """Return the fields of :class:`hubserve.kinds.base.ModuleInfo` that choose a Python.

    Args:
        folder: the module's folder.
        keywords: literal keywords of its ``@moduleinfo``, if it has one.
    Returns:
        ``requires_python``, a text, and ``environment``, an object; empty if the module does not say.
    Raises:
        LoadFailed: ``hub.json`` is unreadable or has another key, a value is of another type, or both places are used.
    """
    given, where = {key: keywords[key] for key in _PYTHON_KEYS if keywords.get(key)}, "@moduleinfo"
    path = folder / _PYTHON_FILE
    if path.is_file():
        if given:
            raise LoadFailed(f"'{path}' and @moduleinfo both state the module's requirements ({', '.join(given)}). Keep one of the two.")
        given, where = _read_python_file(path), f"'{path}'"
    return {"requires_python": _typed(given, "requires_python", str, where), "environment": _typed(given, "environment", dict, where)}


def _read_python_file(path: Path) -> Dict[str, Any]:
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise LoadFailed(f"'{path}' cannot be read as JSON: {error}. Fix or delete it.") from None
    if not isinstance(document, dict):
        raise LoadFailed(f"'{path}' must hold a JSON object, got {type(document).__name__}. Fix or delete it.")
    for key in document:
        if key not in _PYTHON_KEYS:
            raise LoadFailed(f"'{path}' has an unknown key '{str(key)[:60]}'. Known are {' and '.join(_PYTHON_KEYS)}.")
    return document


def _typed(given: Dict[str, Any], key: str, wanted: type, where: str) -> Any:
    value = given.get(key)
    if not value:
        return wanted()
    if not isinstance(value, wanted):
        example = '">=3.8,<3.10"' if wanted is str else '{"environ": {"NAME": "value"}}'
        raise LoadFailed(f"{where}: {key} has a wrong type, {type(value).__name__}. Write it like {example}.")
    return value
