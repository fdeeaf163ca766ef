"""The layer table of docs/architecture.md, held against the sources."""

import ast
import os
import subprocess
import sys
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
    allowed = {*sys.stdlib_module_names, "numpy", "hubserve", "paddlehub"}
    assert {name.split(".")[0] for name in imports_of(path, top_level_only=True)} <= allowed


def test_no_instance_code_imports_a_gateways_room() -> None:
    for path in FILES:
        if room_of_file(path) in INSTANCE_ROOMS:
            rooms = {room_of(name) for name in imports_of(path) if name.startswith("hubserve.")}
            assert rooms <= INSTANCE_ROOMS | {"__version__"}, path


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
