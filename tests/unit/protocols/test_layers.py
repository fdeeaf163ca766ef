"""Layers inside the protocols' package: shared files, the core of the Open Inference Protocol, its transports."""

from pathlib import Path

import pytest

from tests.unit.test_architecture import PACKAGE, imports_of

ROOM = "hubserve.protocols"
CORE, HTTP, GRPC = (f"{ROOM}.open_inference.{name}" for name in ("core", "http", "grpc"))
#: files of a folder -> packages that they must not import
FORBIDDEN = {
    "*.py": [f"{ROOM}.open_inference"],
    "open_inference/core/*.py": [HTTP, GRPC],
    "open_inference/http/*.py": [GRPC],
    "open_inference/grpc/*.py": [HTTP],
}
CASES = [(path, packages) for pattern, packages in FORBIDDEN.items() for path in sorted((PACKAGE / "protocols").glob(pattern))]


@pytest.mark.parametrize(("path", "packages"), CASES, ids=lambda value: str(value.relative_to(PACKAGE)) if isinstance(value, Path) else "")
def test_a_layer_imports_none_above_it(path: Path, packages: list[str]) -> None:
    assert not [name for name in imports_of(path) if name.startswith(tuple(packages))]
