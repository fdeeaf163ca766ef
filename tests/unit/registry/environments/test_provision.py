"""Environments are built once, completely or not at all, with either tool."""

import errno
import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hubserve.errors import ConfigError, InstallError
from hubserve.registry.environments.environment_record import (
    MARKER_NAME,
    RECORD_NAME,
    all_environments,
    environments_dir,
    folders,
    read_record,
)
from hubserve.registry.environments.install_options import Options
from hubserve.registry.environments.interpreters import host
from hubserve.registry.environments.module_requirements import Needs
from hubserve.registry.environments.provision import Provided, provide
from hubserve.registry.environments.requirements import Requirements, read_requirements
from hubserve.registry.instance_command import instance_environment
from hubserve.registry.progress import silent
from tests.conftest import ROOT
from tests.unit.registry.environments.wheelhouse import write_wheel
from tests.unit.registry.web import served


def needs(*lines: str, **more: object) -> Needs:
    return Needs(Requirements(tuple(lines)), **more)  # type: ignore[arg-type]


def get(home: Path, wanted: Needs, progress=silent, **options: object) -> Provided:
    return provide(home, wanted, Options(**options), timeout_s=60, progress=progress)  # type: ignore[arg-type]


def has(home: Path, key: str, package: str = "conflicted") -> str:
    """Return the version of a package that an environment's Python imports when started like an instance."""
    python = str(environments_dir(home) / key / "bin" / "python")
    code = f"import hubserve, sys; import {package} as p; print(p.__version__); print(sys.path)"
    environ = instance_environment(home, [], python)
    done = subprocess.run([python, "-c", code], env=environ, capture_output=True, text=True, check=True, cwd="/")
    assert not any(each.startswith((sys.prefix, str(ROOT))) for each in json.loads(done.stdout.splitlines()[1].replace("'", '"')))
    return done.stdout.splitlines()[0]


def nothing_left(home: Path) -> bool:
    return not folders(home) and not list((home / "tmp").iterdir())


def test_this_python_is_shared_if_it_meets_the_requirements(packages: Path, home: Path) -> None:
    assert get(home, needs("numpy", "packaging>=20")) == Provided()
    assert not environments_dir(home).exists()


def test_an_environment_is_built_once_and_shared_by_all_that_resolve_to_it(packages: Path, home: Path, tool: str) -> None:
    first, built = get(home, needs("conflicted<2"))
    assert first
    assert built
    assert has(home, first.key) == "1.0"
    assert (first.python, first.tool) == (host().version, tool)
    assert "conflicted==1.0" in first.pins
    assert get(home, needs("conflicted<2")) == Provided(first, False)
    same, again = get(home, needs("Conflicted==1.0"))  # written differently, resolved to the same
    assert same
    assert (same.key, again) == (first.key, False)
    other, _ = get(home, needs("conflicted"))
    assert other
    assert has(home, other.key) == "2.0"
    assert other.key != first.key
    assert [each.key for each in all_environments(home)] == sorted([first.key, other.key])


def test_both_tools_have_the_same_key(packages: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = set()
    for each in ("uv", "pip"):
        monkeypatch.setenv("HUBSERVE_ENVIRONMENT_TOOL", each)
        found, _ = get(home, needs("conflicted<2"))
        assert found
        keys.add(found.key)
        shutil.rmtree(found.folder)
    assert len(keys) == 1


def test_requirements_that_do_not_resolve_are_an_error_and_leave_nothing(packages: Path, home: Path, tool: str) -> None:
    with pytest.raises(InstallError) as failed:
        get(home, needs("wants_one", "wants_two"))
    assert "conflicted" in failed.value.message
    assert "wants" in failed.value.message
    assert len(failed.value.message) < 2000
    assert nothing_left(home)
    with pytest.raises(InstallError, match="nobody.has.this"):
        get(home, needs("nobody-has-this"))
    assert nothing_left(home)


def test_isolated_modules_get_a_separate_environment_although_this_python_fits(packages: Path, home: Path) -> None:
    found, built = get(home, needs(), isolated=True)
    assert built
    assert found
    assert [each.split("==")[0] for each in found.pins] == ["numpy"]
    assert get(home, needs(isolated=True)).environment == found


def test_packages_that_a_module_brings_are_shared_with_no_other(packages: Path, home: Path, tmp_path: Path) -> None:
    module = tmp_path / "module"
    write_wheel(module / "wheels", "conflicted", "1.0", filling_bytes=10)
    (module / "requirements.txt").write_text("--find-links wheels\nconflicted==1.0\n")
    own, _ = get(home, Needs(read_requirements(module)))
    shared, _ = get(home, needs("conflicted==1.0"))
    assert own
    assert shared
    assert own.pins == shared.pins
    assert own.key != shared.key


@pytest.mark.parametrize("step", ["resolving", "making an environment", "installing", "writing to disk"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left on device")])
def test_a_failure_at_any_step_leaves_nothing(packages: Path, home: Path, step: str, error: BaseException) -> None:
    def progress(message: str, done_bytes: int = 0, total_bytes: int = 0) -> None:
        if message.startswith(step):
            raise error

    with pytest.raises((KeyboardInterrupt, OSError)):
        get(home, needs("conflicted"), progress)
    assert nothing_left(home)
    assert get(home, needs("conflicted")).built


def test_a_tool_that_cannot_write_leaves_nothing(packages: Path, home: Path, tool: str) -> None:
    get(home, needs("conflicted"))  # fills the caches
    before = [each.key for each in all_environments(home)]
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, kept[1]))
    try:
        with pytest.raises(InstallError, match=r"(?i)file too large|File size|signal|-25|status"):
            get(home, needs("heavy"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
    assert [each.name for each in folders(home)] == before
    assert get(home, needs("heavy")).built


@pytest.mark.parametrize("step", ["resolving", "making an environment", "installing", "writing to disk"])
def test_a_killed_build_is_unfinished_and_built_again(packages: Path, home: Path, step: str) -> None:
    command = [sys.executable, "-m", "tests.unit.registry.environments.build_one", str(home), "conflicted"]
    killed = subprocess.run([*command, step], cwd=ROOT, check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert all_environments(home) == []
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, timeout=120)
    key, built = done.stdout.split()
    assert built == "True"
    assert has(home, key) == "2.0"


def test_two_processes_that_need_the_same_build_it_once(packages: Path, home: Path) -> None:
    command = [sys.executable, "-m", "tests.unit.registry.environments.build_one", str(home), "conflicted"]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = [each.communicate(timeout=120)[0].split() for each in both]
    assert len({key for key, _ in answers}) == 1
    assert sorted(built for _, built in answers) == ["False", "True"]


def test_a_tool_ends_with_the_process_that_started_it(packages: Path, home: Path, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = (
        "import sys; from pathlib import Path; from hubserve.registry.environments.tools.process import run_tool; "
        f"run_tool(['/bin/sh', '-c', 'echo $$ > {note}; exec sleep 600'], {{}}, Path('/'), lambda *_: None, 'sleeping')"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    deadline = time.monotonic() + 55
    while time.monotonic() < deadline and not (note.exists() and note.read_text().strip()):
        time.sleep(0.02)
    pid = note.read_text().strip()
    parent.kill()
    parent.wait()
    while time.monotonic() < deadline and Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().split()[2]:
        time.sleep(0.02)
    assert not Path(f"/proc/{pid}").exists() or "sleep" not in Path(f"/proc/{pid}/cmdline").read_text()


@pytest.mark.parametrize("harm", ["marker", "record", "python", "newer"])
def test_an_environment_that_is_damaged_is_built_again(packages: Path, home: Path, harm: str) -> None:
    found, _ = get(home, needs("conflicted"))
    assert found
    record = found.folder / RECORD_NAME
    if harm == "marker":
        (found.folder / MARKER_NAME).touch()
    elif harm == "record":
        record.write_text("{")
    elif harm == "newer":
        record.write_text(json.dumps({**json.loads(record.read_text()), "schema_version": 99}))
    else:
        (found.folder / "bin" / "python").unlink()
    assert read_record(found.folder) is None
    again, built = get(home, needs("conflicted"))
    assert again
    assert (again.key, built) == (found.key, True)
    assert has(home, again.key) == "2.0"


def test_a_tool_that_is_not_installed_is_an_error(packages: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUBSERVE_ENVIRONMENT_TOOL", "conda")
    with pytest.raises(ConfigError, match="uv or pip"):
        get(home, needs("conflicted"))


@pytest.mark.parametrize(
    "line", ["--no-index --find-links {}/page", "--pre --index-url {}/simple", "--prefer-binary --extra-index-url={}/simple"]
)
def test_an_address_after_another_option_is_refused_before_any_request(tmp_path: Path, line: str) -> None:
    with served() as web:
        (tmp_path / "requirements.txt").write_text(f"{line.format(web.url)}\nelsewhere==1.0\n")
        with pytest.raises(InstallError, match=r"requirements\.txt', line 1: .*--allow-urls"):
            read_requirements(tmp_path)
        assert web.seen == []


def test_pages_beside_the_packages_of_a_module_are_not_followed(packages: Path, home: Path, tmp_path: Path, tool: str) -> None:
    module = tmp_path / "a module"
    write_wheel(module / "wheels", "brought", "1.0")
    with served() as web:
        (module / "wheels" / "page.html").write_text(f'<a href="{web.url}/brought-2.0-py3-none-any.whl">brought</a>')
        (module / "requirements.txt").write_text("--pre --find-links wheels\nbrought\n")
        environment, _ = get(home, Needs(read_requirements(module)))
        assert web.seen == []
    assert environment
    assert has(home, environment.key, "brought") == "1.0"


def test_a_package_that_needs_another_from_an_address_is_not_installed(
    packages: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_wheel(tmp_path / "mine", "leads", "1.0", needs=(f"away @ {write_wheel(tmp_path / 'away', 'away', '1.0').as_uri()}",))
    monkeypatch.setenv("PIP_FIND_LINKS", f"{packages} {tmp_path / 'mine'}")
    monkeypatch.setenv("HUBSERVE_ENVIRONMENT_TOOL", "pip")
    with pytest.raises(InstallError, match=r"requires 'away @ file:.*--allow-urls"):
        get(home, needs("leads"))
    assert nothing_left(home)
