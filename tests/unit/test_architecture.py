"""The layer table of docs/architecture.md, held against the sources."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGE = ROOT / "hubserve"
#: what runs inside instances, which may be old Pythons without hubserve's packages
INSTANCE_ROOMS = {"instance", "kinds", "models", "engines", "vision", "compat", "module", "types", "errors", "wire", "paths", "base64_text"}
FILES = sorted(PACKAGE.rglob("*.py"))


def layers() -> dict[str, int]:
    """Room -> rank, 0 at the top, from the table in docs/architecture.md."""
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    table = text.partition("<!-- layers -->")[2].partition("<!-- end of layers -->")[0]
    rows = [line.split("|")[2] for line in table.splitlines() if line.startswith("|") and "`" in line]
    return {room.strip(" `"): rank for rank, row in enumerate(rows) for room in row.split(",")}


def room_of(dotted: str) -> str:
    return dotted.split(".")[1] if "." in dotted else ""


def imports_of(path: Path, top_level_only: bool = False) -> list[str]:
    tree = ast.parse(path.read_bytes())
    nodes = tree.body if top_level_only else list(ast.walk(tree))
    found: list[str] = []
    for node in nodes:
        if isinstance(node, ast.Import):
            found += [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module + "." + each.name if node.module == "hubserve" else node.module for each in node.names]
    return found


def room_of_file(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_room_is_in_the_table() -> None:
    rooms = {room_of_file(path) for path in FILES} - {"__init__", "__main__"}
    assert len(FILES) > 50
    assert rooms == set(layers())


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards_only(path: Path) -> None:
    ranks, own = layers(), room_of_file(path)
    if own in ("__init__", "__main__"):
        return
    for name in imports_of(path):
        room = room_of(name)
        if name.split(".")[0] == "hubserve" and room and room != own and room in ranks:
            assert ranks[room] > ranks[own], f"{own} may not import {name}"


@pytest.mark.parametrize(
    "path", [path for path in FILES if room_of_file(path) in INSTANCE_ROOMS], ids=lambda path: str(path.relative_to(ROOT))
)
def test_what_runs_in_instances_needs_the_standard_library_and_numpy_only_and_is_python_3_8(path: Path) -> None:
    ast.parse(path.read_bytes(), feature_version=(3, 8))
    allowed = {*sys.stdlib_module_names, "numpy", "hubserve", "paddlehub", "tiinfer"}
    assert {name.split(".")[0] for name in imports_of(path, top_level_only=True)} <= allowed


def test_no_instance_code_imports_a_gateways_room() -> None:
    for path in FILES:
        if room_of_file(path) in INSTANCE_ROOMS:
            rooms = {room_of(name) for name in imports_of(path) if name.startswith("hubserve.")}
            assert rooms <= INSTANCE_ROOMS | {"__version__"}, path


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def modules_imported_by(tree: ast.AST, modules: set[str]) -> set[str]:
    """The modules of hubserve that a file imports anywhere: at its top, in functions, and for type checkers alone."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = {f"{node.module}.{each.name}" for each in node.names}
            found |= (names & modules) or {node.module}
    return found & modules


def circles(imports: Mapping[str, set[str]]) -> list[set[str]]:
    """The sets of modules each of which leads to every other one."""
    reached: dict[str, set[str]] = {}
    for start in imports:
        seen, waiting = set[str](), [*imports[start]]
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting += imports[name]
        reached[start] = seen
    found: list[set[str]] = []
    for name, seen in reached.items():
        if name in seen and not any(name in each for each in found):
            found.append({other for other in seen if name in reached[other]})
    return found


def test_no_circles_of_files() -> None:
    trees = {module_of(path): ast.parse(path.read_bytes()) for path in FILES if "templates" not in path.parts}
    imports = {name: modules_imported_by(tree, set(trees)) for name, tree in trees.items()}
    assert len(imports) > 300
    assert [sorted(each) for each in circles(imports)] == []


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"e"}}) == [{"a", "b", "c"}, {"e"}]
    for text in ("import x.y", "from x import y", "from x.y import z", "def f():\n from x.y import z", "if TYPE_CHECKING:\n import x.y"):
        assert modules_imported_by(ast.parse(text), {"x", "x.y"}) == {"x.y"}


#: path -> methods that it sets on objects of others: names that packages have removed are restored where those are imported
SETS_METHODS_OF_OTHERS = {"kinds/removed_names/runtime.py": {"exec_module", "__getattr__"}}


def methods_of(trees: Iterable[ast.AST]) -> set[str]:
    """The names of all methods of classes that are not also names of properties or of data fields of some class."""
    methods, data = set(), set()
    for one in [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]:
        for each in one.body:
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
                is_property = any("property" in ast.dump(decorator) for decorator in each.decorator_list)
                (data if is_property else methods).add(each.name)
            elif isinstance(each, ast.AnnAssign):
                data.add(ast.unparse(each.target))
        for node in ast.walk(one):  # self.name = name
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name):
                data |= {each.attr for each in node.targets if isinstance(each, ast.Attribute) and each.attr == node.value.id}
    return methods - data


def pairs_of(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
        return list(zip(target.elts, value.elts, strict=True))
    return [(target, value)]


def methods_set_by(tree: ast.AST, methods: set[str]) -> set[str]:
    """The method names to which a file assigns functions on objects other than ``self``, as in ``calls.infer = self.infer``.

    A value counts as a function if it is a method's or a function's name, a lambda or a partial: a plain value such as a text is stored
    in a field that has the name of another class's method.
    """
    functions = methods | {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assignments = [(target, node.value) for node in ast.walk(tree) if isinstance(node, ast.Assign) for target in node.targets]
    found = set()
    for target, value in [pair for assignment in assignments for pair in pairs_of(*assignment)]:
        if not isinstance(target, ast.Attribute) or (isinstance(target.value, ast.Name) and target.value.id in ("self", "cls")):
            continue
        name = value.func if isinstance(value, ast.Call) else value
        called = name.attr if isinstance(name, ast.Attribute) else name.id if isinstance(name, ast.Name) else ""
        is_function = isinstance(value, ast.Lambda) or (called == "partial" if isinstance(value, ast.Call) else called in functions)
        if target.attr in methods and is_function:
            found.add(target.attr)
    return found


def test_no_file_replaces_methods_of_other_objects() -> None:
    trees = {path: ast.parse(path.read_bytes()) for path in FILES if "templates" not in path.parts}
    methods = methods_of(trees.values())
    assert {"infer", "load", "unload"} <= methods
    found = {str(path.relative_to(PACKAGE)): methods_set_by(tree, methods) for path, tree in trees.items()}
    assert {path: names for path, names in found.items() if names} == SETS_METHODS_OF_OTHERS


def test_replaced_methods_are_found() -> None:
    methods = {"infer", "stream"}
    for text in ("calls.infer = self.infer", "a.b, self.x.infer = 1, lambda: 0", "x.infer = partial(f, 1)", "def f(): pass\nx.infer = f"):
        assert methods_set_by(ast.parse(text), methods) == {"infer"}
    for text in ("self.infer = self.stream", "x.infer = 'text'", "x.on_end = self.stream", "x.infer = settings.name"):
        assert methods_set_by(ast.parse(text), methods) == set()


def find_python(version: str) -> str | None:
    """An interpreter of that version on this machine, found as people install them."""
    candidates = [f"/usr/bin/python{version}", *map(str, Path.home().glob(f".pyenv/versions/{version}*/bin/python"))]
    root = os.environ.get("PYENV_ROOT")
    candidates += map(str, Path(root).glob(f"versions/{version}*/bin/python")) if root else []
    return next((each for each in candidates if Path(each).exists()), None)


@pytest.mark.skipif(find_python("3.8") is None, reason="this machine has no Python 3.8; the syntax is checked above in any case")
def test_instance_code_compiles_on_python_3_8(tmp_path: Path) -> None:
    python = find_python("3.8")
    assert python
    files = [str(path) for path in FILES if room_of_file(path) in INSTANCE_ROOMS]
    code = "import sys\nfor path in sys.argv[1:]:\n    compile(open(path, encoding='utf-8').read(), path, 'exec')"
    subprocess.run([python, "-c", code, *files], check=True, env={"PYTHONDONTWRITEBYTECODE": "1"})


def test_the_gateway_loads_no_framework() -> None:
    frameworks = ("paddle", "cv2", "openvino", "onnxruntime", "torch", "flask")
    code = f"import sys; import hubserve.server.run, hubserve.server.deployment; print([m for m in {frameworks} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
