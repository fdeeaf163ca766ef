"""Names of modules, classes and files in docstrings, comments and pages lead to something that exists."""

import ast
import builtins
import importlib.machinery
import re
import subprocess
import sys
import tokenize
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import ROOT

ROLE = re.compile(r":(?:class|func|mod|meth|data|attr|exc|const):`~?([\w.]+?)(?:\(\))?`")
DOTTED = re.compile(r"(?<![\w./-])(?:hubserve|tests)(?:\.\w+)+")
FILE = re.compile(r"(?<![\w./-])((?:hubserve|hubmodules|tests|bench|tools)/[\w./-]*\w\.py)\b")
#: begins like a module's name, and is a file or a key
OTHER_NAMES = {"hubserve.json", "hubserve.files.json", "hubserve.lock", "hubserve.headers", "hubserve.cross_origin"}
#: attributes of spans
OTHER_NAMES |= {f"hubserve.{each}" for each in ("bytes", "cache_hit", "engine", "instance.address", "protocol", "request_id", "version")}
OTHER_NAMES |= {"hubserve.batch.items", "hubserve.batch.requests"}
#: what readers of CONTRIBUTING.md write themselves
TO_BE_WRITTEN = ("engines.linear", "kinds.lookup", "protocols.toy", "registry.sources.link", "cli.where")


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / each for each in listed.split("\0") if each and (ROOT / each).is_file()]


CODE = [path for path in tracked("*.py") if not path.is_relative_to(ROOT / "tests" / "modules")]
PAGES = [path for path in tracked("*.md", "Makefile", "*.toml", "*.yml") if path.name != "CHANGELOG.md"]
ARCHITECTURE = [ROOT / "docs" / "architecture.md", *sorted((ROOT / "docs" / "adr").glob("*.md"))]
#: folders that modules are imported from; scripts of bench/ import what lies beside them
FOLDERS = (ROOT, ROOT / "bench", ROOT / "bench" / "peers")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


@cache
def file_of(module: str) -> Path | None:
    """The file of a module or package of this repository; ``paddlehub`` is the one in ``hubserve.compat``."""
    parts = re.sub(r"^paddlehub\b", "hubserve.compat.paddlehub", module).split(".")
    candidates = [
        path for folder in FOLDERS for path in (folder.joinpath(*parts).with_suffix(".py"), folder.joinpath(*parts, "__init__.py"))
    ]
    return next((path for path in candidates if path.is_file()), None)


@cache
def names_in(path: Path) -> dict[str, tuple[ast.AST, str]]:
    """Each name that a file defines or imports anywhere outside classes -> its node and, of an import, the dotted name."""
    found: dict[str, tuple[ast.AST, str]] = {}
    waiting: list[ast.AST] = [tree_of(path)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found[node.name] = (node, "")
        elif isinstance(node, ast.ImportFrom):
            found |= {each.asname or each.name: (node, f"{node.module}.{each.name}") for each in node.names}
        elif isinstance(node, ast.Import):
            found |= {each.asname or each.name.partition(".")[0]: (node, each.name if each.asname else "") for each in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found[node.id] = (node, "")
        if not isinstance(node, ast.ClassDef):
            waiting += ast.iter_child_nodes(node)
    return found


def has_member(path: Path, one: ast.ClassDef, name: str) -> bool:
    """Return whether a class, or one that it is derived from, has a method or attribute."""
    for node in ast.walk(one):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            return True
        stored = isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store)
        if stored and name == (node.id if isinstance(node, ast.Name) else node.attr):
            return True
    return any(resolves(path, [], [*ast.unparse(base).partition("[")[0].split("."), name]) for base in one.bases)


def resolves(path: Path, classes: list[ast.ClassDef], parts: list[str]) -> bool:
    """Return whether a dotted name means something in a file, inside the given classes, as Sphinx resolves it."""
    if len(parts) == 1 and any(has_member(path, each, parts[0]) for each in classes):
        return True
    if parts[0] not in names_in(path):
        return resolves_outside(parts)
    node, imported = names_in(path)[parts[0]]
    if imported:
        return resolves_outside([*imported.split("."), *parts[1:]])
    if len(parts) == 1:
        return True
    return has_member(path, node, parts[1]) if isinstance(node, ast.ClassDef) else resolves_outside(parts)


def resolves_outside(parts: list[str]) -> bool:
    """Return whether a dotted name is a module, or leads to something in one."""
    for count in range(len(parts), 0, -1):
        path = file_of(".".join(parts[:count]))
        if path:
            return count == len(parts) or resolves(path, [], parts[count:])
        if ROOT.joinpath(*parts[:count]).is_dir():
            return count == len(parts)
    if parts[0] in ("hubserve", "tests", "paddlehub"):
        return False
    if parts[0] in sys.stdlib_module_names:
        return has_attributes(importlib.import_module(parts[0]), parts[1:])
    # a look for pip by find_spec() would change how setuptools, and with it Paddle, is imported in this process
    return hasattr(builtins, parts[0]) or bool(parts[0] and importlib.machinery.PathFinder.find_spec(parts[0]))


def has_attributes(one: object, names: list[str]) -> bool:
    return not names or (hasattr(one, names[0]) and has_attributes(getattr(one, names[0]), names[1:]))


@cache
def texts_of(path: Path) -> list[tuple[int, str]]:
    """Return the lines of a page; of a Python file the comments and docstrings, each with its line."""
    if path.suffix != ".py":
        return [*enumerate(path.read_text("utf-8").splitlines(), 1)]
    with path.open("rb") as file:
        return [
            (token.start[0], token.string)
            for token in tokenize.tokenize(file.readline)
            if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and token.string.lstrip("rf").startswith('"""'))
        ]


def shown(lost: list[tuple[Path, int, str]]) -> str:
    return "\n".join(f"{path.relative_to(ROOT)}:{line}: there is no '{name}'" for path, line, name in lost)


def classes_at(path: Path, line: int) -> list[ast.ClassDef]:
    return [node for node in ast.walk(tree_of(path)) if isinstance(node, ast.ClassDef) and node.lineno <= line <= (node.end_lineno or 0)]


def test_roles_in_docstrings_and_comments_resolve() -> None:
    roles = [(path, line, name) for path in CODE for line, text in texts_of(path) for name in ROLE.findall(text)]
    assert len(roles) > 300
    lost = [(path, line, name) for path, line, name in roles if not resolves(path, classes_at(path, line), name.split("."))]
    assert not lost, shown(lost)


def test_dotted_names_and_files_of_this_repository_exist() -> None:
    lost = []
    texts = ((path, line, text) for path in (*CODE, *PAGES) for line, text in texts_of(path))
    for path, line, text in texts:
        if path.name == "CONTRIBUTING.md" and any(each in text or each.replace(".", "/") in text for each in TO_BE_WRITTEN):
            continue
        names = set(DOTTED.findall(text)) - OTHER_NAMES
        lost += [(path, line, name) for name in names if not resolves_outside(name.split("."))]
        lost += [(path, line, name) for name in FILE.findall(text) if not (ROOT / name).is_file()]
    assert not lost, shown(lost)


@pytest.mark.parametrize("page", ARCHITECTURE, ids=lambda path: path.name)
def test_files_that_the_architecture_and_its_decisions_name_exist(page: Path) -> None:
    """They name files relative to the room of the paragraph."""
    files = [f"/{path.relative_to(ROOT)}" for path in tracked("*.py")]
    names = set(re.findall(r"`([\w./-]+\.py)`", page.read_text("utf-8")))
    assert not [name for name in names if not any(each.endswith(f"/{name}") for each in files)]


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("hubserve.errors.HubError", True),
        ("hubserve.wire", True),
        ("hubserve.errors.NoSuchError", False),
        ("hubserve.nosuch", False),
        ("json.loads", True),
        ("json.nosuch", False),
    ],
)
def test_unknown_names_are_found(name: str, known: bool) -> None:
    assert resolves_outside(name.split(".")) is known
