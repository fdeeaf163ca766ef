"""Homes that build environments from a folder of small wheels."""

from pathlib import Path

import pytest

from tests.unit.registry.environments.wheelhouse import write_wheel


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write wheels: two versions of a package, two packages that require one each, and a small package named numpy."""
    folder = tmp_path_factory.mktemp("wheels")
    for version in ("1.0", "2.0"):
        write_wheel(folder, "conflicted", version)
    write_wheel(folder, "wants_one", "1.0", needs=("conflicted==1.0",))
    write_wheel(folder, "wants_two", "1.0", needs=("conflicted==2.0",))
    write_wheel(folder, "heavy", "1.0", filling_bytes=2 << 20)
    for version in ("1.24.9", "1.26.9", "2.2.9"):
        write_wheel(folder, "numpy", version)
    return folder


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a cache that all homes of the tests share: making a pip takes seconds."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def packages(
    wheels: Path, home: Path, shared_cache: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Make the wheels the only source of pip and uv."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "uv-cache"))
    home.mkdir()
    (home / "cache").symlink_to(shared_cache, target_is_directory=True)
    return wheels


@pytest.fixture(params=["uv", "pip"])
def tool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Select each tool in turn."""
    monkeypatch.setenv("HUBSERVE_ENVIRONMENT_TOOL", request.param)
    return str(request.param)
