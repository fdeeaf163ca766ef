"""The registry's own layers: imports between its packages point downwards only."""

import ast
from pathlib import Path

import pytest

from tests.conftest import ROOT

REGISTRY = ROOT / "hubserve" / "registry"
#: from the top; modules and packages that are not listed are the bottom
LAYERS = (
    ("paddlehub_import", "bundles", "gc", "clear_cache", "model_store"),
    ("installer",),
    ("install",),
    ("sources",),
    ("indexes",),
    ("remotes",),
    ("downloads",),
    ("environments",),
    ("archives",),
)
RANKS = {name: rank for rank, names in enumerate(LAYERS) for name in names}
FILES = sorted(path for path in REGISTRY.rglob("*.py") if "profiles" not in path.parts)


def rank_of(name: str) -> int:
    return RANKS.get(name, len(LAYERS))


def test_every_layer_exists() -> None:
    assert all((REGISTRY / f"{name}.py").exists() or (REGISTRY / name).is_dir() for name in RANKS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(REGISTRY).as_posix())
def test_imports_within_the_registry_point_downwards(path: Path) -> None:
    own = path.relative_to(REGISTRY).parts[0].removesuffix(".py")
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hubserve.registry"):
            parts = (node.module or "").split(".")[2:3] or [each.name for each in node.names]
            for name in parts:
                assert name == own or rank_of(name) == rank_of(own) == len(LAYERS) or rank_of(name) > rank_of(own), f"{own} imports {name}"
