"""Used environments stay, unused ones are removed; environments can be exported as wheels."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hubserve.errors import InstallError, ModuleNotFound
from hubserve.registry.environments.environment_record import MARKER_NAME, Environment, environments_dir, folders, get_environment
from hubserve.registry.environments.install_options import Options
from hubserve.registry.environments.module_requirements import Needs
from hubserve.registry.environments.provision import provide
from hubserve.registry.environments.requirements import Requirements
from hubserve.registry.environments.usage import prune, running_keys, users
from hubserve.registry.environments.wheels import build_from_wheels, download_wheels
from hubserve.registry.progress import silent
from tests.conftest import wait_for


def made(home: Path, requirement: str) -> Environment:
    found = provide(home, Needs(Requirements((requirement,))), Options(), timeout_s=60, progress=silent).environment
    assert found
    return found


def use(folder: Path, key: str) -> None:
    folder.mkdir(parents=True)
    (folder / ".hubserve.json").write_text(json.dumps({"name": folder.parent.name, "version": folder.name, "environment": key}))


def test_prune_removes_unused_environments_and_reports_the_freed_bytes(packages: Path, home: Path) -> None:
    kept, gone = made(home, "conflicted<2"), made(home, "conflicted")
    aside = made(home, "wants_one")
    use(home / "modules" / "toy" / "1.0.0", kept.key)
    use(home / "modules" / "toy" / ".0.9.0.old", aside.key)
    unfinished = environments_dir(home) / "3.8-unfinished"
    unfinished.mkdir()
    (unfinished / MARKER_NAME).touch()
    (environments_dir(home) / ".3.9-half.removed").mkdir()
    assert users(home) == {kept.key: ["toy 1.0.0"], aside.key: ["toy .0.9.0.old"]}
    pruned = prune(home, timeout_s=10, progress=silent)
    assert pruned.removed == {gone.key: gone.size_bytes, "3.8-unfinished": 0}
    assert gone.size_bytes > 0
    assert [each.name for each in folders(home)] == sorted([kept.key, aside.key])
    assert not list(environments_dir(home).glob(".*.removed"))


def test_prune_keeps_environments_of_running_processes(packages: Path, home: Path) -> None:
    found = made(home, "conflicted")
    process = subprocess.Popen([str(found.executable), "-c", "input()"], stdin=subprocess.PIPE)
    try:
        wait_for(lambda: found.key in running_keys(home))
        assert prune(home, timeout_s=10, progress=silent) == ({}, [found.key])
    finally:
        process.communicate(b"\n", timeout=30)
    assert list(prune(home, timeout_s=10, progress=silent).removed) == [found.key]


def test_a_key_may_be_shortened_if_unambiguous(packages: Path, home: Path) -> None:
    found, other = made(home, "conflicted"), made(home, "conflicted<2")
    assert get_environment(home, found.key[:-3]) == found
    assert get_environment(home, other.key) == other
    for unclear in ("3", "nothing"):
        with pytest.raises(ModuleNotFound, match="hub env list"):
            get_environment(home, unclear)


def test_an_environment_is_exported_as_wheels_to_a_home_without_an_index(
    packages: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    found = made(home, "wants_one")
    portable = download_wheels(home, found.key, tmp_path / "bundle")
    assert sorted(each.name.split("-")[0] for each in (tmp_path / "bundle").iterdir()) == ["conflicted", "numpy", "wants_one"]
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "nothing"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    other = tmp_path / "other"
    other.mkdir()
    (other / "cache").symlink_to(home / "cache")
    there, built = build_from_wheels(other, portable, tmp_path / "bundle")
    assert (there.key, built) == (found.key, True)
    code = "import wants_one, conflicted; print(conflicted.__version__)"
    assert subprocess.run([str(there.executable), "-c", code], capture_output=True, text=True, check=True).stdout == "1.0\n"
    assert build_from_wheels(other, portable, tmp_path / "bundle") == (there, False)
    options = Options(wheels=tmp_path / "bundle")
    again = provide(other, Needs(Requirements(("wants_one",))), options, timeout_s=60, progress=silent)
    assert again.environment
    assert (again.environment.key, again.built) == (found.key, False)


def test_wheels_that_are_missing_or_for_other_machines_are_errors(packages: Path, home: Path, tmp_path: Path) -> None:
    found = made(home, "wants_one")
    portable = download_wheels(home, found.key, tmp_path / "bundle")
    with pytest.raises(InstallError, match="packages are for"):
        build_from_wheels(tmp_path / "other", portable._replace(platform="linux-riscv64"), tmp_path / "bundle")
    next((tmp_path / "bundle").glob("conflicted*")).unlink()
    with pytest.raises(InstallError, match="conflicted"):
        build_from_wheels(tmp_path / "other", portable, tmp_path / "bundle")
    assert not folders(tmp_path / "other")
    assert sys.version_info[:2] == tuple(int(each) for each in portable.python.split(".")[:2])
