"""Findings of hub doctor about a machine, each provoked."""

import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
from filelock import FileLock
from packaging.requirements import Requirement

from hubserve.doctor import engines, hardware, home_checks, software
from hubserve.doctor.findings import Finding
from hubserve.doctor.machine import MACHINE_CHECKS
from hubserve.engines.gpus import gpu_count
from hubserve.registry.environments.host_packages import OPENCV_BUILDS
from tests.conftest import MODULES, ROOT, hub
from tests.unit.doctor.found import the, without_engines, worse_than_notes


def elsewhere(check: str, **environ: str) -> list[Finding]:
    """Return the findings of a check in a process with other environment variables."""
    code = "import json\nfrom hubserve.doctor import engines, hardware, home_checks, software\n"
    code += f"print(json.dumps([each.to_json() for each in {check}()]))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environ}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True)
    return [Finding(**each) for each in json.loads(done.stdout.splitlines()[-1])]


def package(folder: Path, name: str, code: str) -> None:
    """Write a package into a folder for the import path."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(code)


def distribution(folder: Path, name: str, version: str) -> str:
    """Return an import path that starts with another version of a package."""
    about = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return f"{folder}{os.pathsep}{ROOT}"


# --- software ---


def test_a_python_that_hubserve_does_not_support_is_an_error() -> None:
    found = the(software.check_python(requires=">=3.99"), "python")
    assert found.level == "error"
    assert "hubserve requires >=3.99" in found.reason
    assert the(software.check_python(), "python").level == "note"


def test_the_packages_of_this_environment_are_in_order() -> None:
    assert worse_than_notes(software.check_packages()) == []


def test_a_package_of_a_version_that_is_too_old_is_an_error_with_the_command_that_fixes_it(tmp_path: Path) -> None:
    found = the(elsewhere("software.check_packages", PYTHONPATH=distribution(tmp_path, "msgspec", "0.1")), "msgspec")
    assert (found.level, found.reason) == ("error", "version 0.1 is installed, but msgspec>=0.19 is required")
    assert found.fix == "pip install 'msgspec>=0.19'"


def test_a_package_of_an_extra_that_is_too_old_is_a_warning(tmp_path: Path) -> None:
    found = the(elsewhere("software.check_packages", PYTHONPATH=distribution(tmp_path, "onnxruntime", "1.0")), "onnxruntime")
    assert found.level == "warning"


def test_a_missing_package_is_an_error_only_if_it_is_needed() -> None:
    missing = Requirement("no-such-package>=2")
    assert the(software.compare_requirement(missing, needed=True), "no-such-package").fix == "pip install 'no-such-package>=2'"
    assert list(software.compare_requirement(missing, needed=False)) == []


@pytest.mark.parametrize("build", OPENCV_BUILDS)
def test_any_build_of_opencv_meets_the_requirement_and_the_one_that_is_there_is_upgraded(
    build: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = Requirement("opencv-python-headless>=4.10")
    for version in ("4.5", "4.11"):
        folder = tmp_path / version
        folder.mkdir()
        distribution(folder, build, version)
        monkeypatch.setattr(sys, "path", [str(folder)])
        found = list(software.compare_requirement(needed, needed=True))
        assert [(each.about, each.fix) for each in found] == ([(build, f"pip install '{build}>=4.10'")] if version == "4.5" else [])


@pytest.mark.parametrize(
    ("builds", "kept"),
    [
        (["opencv-python", "opencv-python-headless"], "opencv-python-headless"),
        (["opencv-python-headless", "opencv-contrib-python"], "opencv-contrib-python-headless"),
    ],
)
def test_several_builds_of_opencv_are_a_warning_with_the_command_that_leaves_one(
    builds: list[str], kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "packages"
    packages.mkdir()
    for each in Path(cv2.__file__).parent, Path(np.__file__).parent, *Path(np.__file__).parents[1].glob("*.libs"):
        (packages / each.name).symlink_to(each)
    for each in builds:
        distribution(packages, each, "4.11")
    monkeypatch.setattr(sys, "path", [str(ROOT), str(packages), *(each for each in sys.path if "site-packages" not in each)])
    found = the(software.check_opencv(), "opencv")
    assert (found.level, "overwrite each other's files" in found.reason) == ("warning", True)
    assert found.fix.endswith(f" && pip install {kept}")
    assert all(f"{each} 4.11" in found.reason and each in found.fix for each in builds)


def test_an_opencv_that_lacks_a_library_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, "cv2", "raise ImportError('libGL.so.1: cannot open shared object file: No such file or directory')")
    monkeypatch.syspath_prepend(tmp_path)
    found = the(software.check_opencv(), "opencv")
    assert (found.level, "libGL.so.1: cannot open" in found.reason) == ("error", True)
    assert found.fix.endswith("pip install opencv-python-headless")


def test_the_build_of_opencv_of_this_environment_is_named() -> None:
    found = the(software.check_opencv(), "opencv")
    assert (found.level, found.reason.startswith(("opencv-python", "opencv-contrib-python"))) == ("note", True)


def command(folder: Path, name: str, text: str = "#!/bin/sh\necho 1\n") -> str:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)
    return str(folder)


def test_several_hub_commands_on_the_path_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = command(tmp_path / "one", "hub"), command(tmp_path / "other", "hub")
    own = (Path(sys.executable).parent / "hub").resolve()
    monkeypatch.setenv("PATH", f"{own.parent}{os.pathsep}{one}{os.pathsep}{other}")
    found = the(software.check_hub_commands(), "PATH")
    assert f"{one}/hub, {other}/hub" in found.reason
    monkeypatch.setenv("PATH", f"{one}{os.pathsep}{own.parent}")
    assert f"the shell's 'hub' is {one}/hub, but this is {own}" in the(software.check_hub_commands(), "PATH").reason
    monkeypatch.setenv("PATH", str(own.parent))
    assert list(software.check_hub_commands()) == []


def test_other_pythons_are_found_by_running_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = [[3, 9, 77], "/no/such/python", "final", "linux-x86_64", "cpython"]
    found = command(tmp_path / "good", "python3.9", f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
    broken = command(tmp_path / "broken", "python3.8", "#!/bin/sh\nexit 1\n")
    monkeypatch.setenv("PATH", os.pathsep.join((found, broken)))
    reason = the(software.check_other_pythons(), "other Pythons").reason
    assert f"3.9.77 ({found}/python3.9)" in reason
    assert broken not in reason


def test_tools_that_are_missing_or_do_not_run_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", command(tmp_path / "bin", "git", "#!/bin/sh\nexit 3\n"))
    found = list(software.check_tools())
    assert (the(found, "uv").level, the(found, "uv").reason[:13]) == ("note", "not installed")
    assert (the(found, "git").level, "does not run" in the(found, "git").reason) == ("warning", True)
    monkeypatch.setenv("PATH", command(tmp_path / "bin", "git", "#!/bin/sh\necho git version 9\n"))
    assert the(software.check_tools(), "git").reason.startswith("git version 9")


@pytest.mark.parametrize("variable", ["LD_LIBRARY_PATH", "PYTHONPATH"])
@pytest.mark.parametrize(
    ("value", "says"), [("/usr::/usr", "an empty entry"), ("lib", "'lib' is relative"), ("/no/such", "'/no/such' does not exist")]
)
def test_odd_search_paths_are_warnings(variable: str, value: str, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    found = the(software.check_variables(), variable)
    assert (found.level, says in found.reason) == ("warning", True)


def test_a_search_path_that_is_in_order_or_not_set_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LD_LIBRARY_PATH", "PYTHONPATH"):
        monkeypatch.setenv(name, "/usr")
    assert list(software.check_variables()) == []
    monkeypatch.setenv("LD_LIBRARY_PATH", "")
    assert list(software.check_variables()) == []


def test_a_preloaded_library_that_is_missing_and_pythonhome_are_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "/no/lib.so libc.so.6")
    monkeypatch.setenv("PYTHONHOME", "/usr")
    found = list(software.check_variables())
    assert "/no/lib.so" in the(found, "LD_PRELOAD").reason
    assert the(found, "PYTHONHOME").fix == "unset PYTHONHOME"


# --- engines ---


def test_engines_that_crash_or_fail_when_they_are_imported_are_errors_with_their_reasons(tmp_path: Path) -> None:
    package(tmp_path, "openvino", "import os, sys; print('illegal instruction', file=sys.stderr, flush=True); os.abort()")
    package(tmp_path, "paddle", "import time; raise ImportError('libfoo.so.1: cannot open shared object file')")
    found = elsewhere("engines.check_engines", PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    crashed, failed = the(found, "openvino"), the(found, "paddle")
    assert (crashed.level, failed.level, the(found, "onnxruntime").level) == ("error", "error", "note")
    assert "its process was ended by signal 6 (its last output: illegal instruction)" in crashed.reason
    assert "pip uninstall openvino" in crashed.fix
    assert "libfoo.so.1: cannot open shared object file" in failed.reason


def test_no_engine_at_all_is_a_warning(tmp_path: Path, home: Path) -> None:
    code = """
from hubserve.doctor.engines import ENGINES, check_engines
for name in {*ENGINES} - {"paddle", "openvino", "onnxruntime", "pytorch"}:  # further ones may need no package of their own
    del ENGINES[name]
print(*check_engines(), sep="\\n")
"""
    done = without_engines(tmp_path, "-c", code, home=home)
    first, *others = done.stdout.splitlines()
    assert "level='warning', about='engines'" in first, done.stderr
    assert "pip install 'hubserve[cpu,fast]'" in first
    assert len(others) == 4
    assert all("level='note'" in each and "not installed" in each for each in others)


def test_gpus_that_are_named_and_not_there_are_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    there = gpu_count()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"{there + 3}")
    found = the(engines.check_gpus(), "CUDA_VISIBLE_DEVICES")
    assert f"it names GPU {there + 3}" in found.reason
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert worse_than_notes(engines.check_gpus()) == []


# --- hardware ---


@pytest.mark.parametrize(
    ("flags", "machine", "level"),
    [
        ("sse2", "x86_64", "error"),
        ("sse2 avx", "x86_64", "warning"),
        ("avx avx2", "x86_64", ""),
        ("asimd", "aarch64", ""),
        ("", "x86_64", ""),
    ],
)
def test_a_processor_without_vector_instructions_is_reported(tmp_path: Path, flags: str, machine: str, level: str) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"model name\t: Some Processor\n{'flags' if machine == 'x86_64' else 'Features'}\t\t: {flags}\n" if flags else "")
    found = worse_than_notes(hardware.check_cpu(cpuinfo, machine))
    assert [each.level for each in found] == ([level] if level else [])


def test_this_machines_processor_is_described() -> None:
    assert "cores" in next(iter(hardware.check_cpu())).reason


@pytest.mark.parametrize(("text", "cores"), [("50000 100000", 0.5), ("max 100000", None), ("nonsense", None)])
def test_a_containers_share_of_the_processor_is_read(tmp_path: Path, text: str, cores: float | None) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert hardware.cpu_quota(tmp_path) == cores
    found = list(hardware.check_quota(tmp_path))
    assert [each.fix[:14] for each in found] == (['Set "workers":'] if cores else [])


def test_an_older_containers_share_of_the_processor_is_read(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("150000\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert hardware.cpu_quota(tmp_path) == 1.5


def test_a_containers_bound_on_memory_counts(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000000")
    (tmp_path / "memory.current").write_text("400000")
    assert hardware.available_bytes(tmp_path) == 600_000
    (tmp_path / "memory.max").write_text("max")
    assert hardware.available_bytes(tmp_path) > 10_000_000


def test_too_little_memory_and_disk_are_reported(home: Path) -> None:
    assert the(hardware.check_memory(wanted_bytes=1 << 60), "memory").level == "warning"
    assert the(hardware.check_memory(wanted_bytes=1), "memory").level == "note"
    assert the(hardware.check_disk(wanted_bytes=1 << 60), "disk").level == "warning"
    found = the(hardware.check_disk(wanted_bytes=1 << 60, needed_bytes=1 << 60), "disk")
    assert (found.level, found.file) == ("error", str(home))
    assert "hub clear" in found.fix


def limited(kind: int, limit: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (limit, limit))


def limited_check(check: str, limit: Callable[[], None]) -> list[Finding]:
    code = f"import json; from hubserve.doctor import hardware; print(json.dumps([each.to_json() for each in hardware.{check}()]))"
    command = [sys.executable, "-c", code]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True, preexec_fn=limit)
    return [Finding(**each) for each in json.loads(done.stdout)]


def test_shared_memory_that_cannot_be_had_is_an_error() -> None:
    assert list(hardware.check_shared_memory()) == []
    found = the(limited_check("check_shared_memory", limited(resource.RLIMIT_FSIZE, 1 << 20)), "shared memory")
    assert (found.level, "memfd_create of 96 MiB failed" in found.reason) == ("error", True)


@pytest.mark.parametrize(("limit", "level"), [(256, "warning"), (2048, "note"), (8192, "")])
def test_a_low_limit_of_open_files_is_reported_with_the_command_that_raises_it(limit: int, level: str) -> None:
    found = limited_check("check_open_files", limited(resource.RLIMIT_NOFILE, limit))
    assert [(each.level, each.fix) for each in found] == ([(level, f"ulimit -n {limit}")] if level else [])


def test_a_clock_behind_the_files_is_a_warning(home: Path) -> None:
    home.mkdir()
    assert list(hardware.check_clock()) == []
    later = time.time() + 10 * 86400
    os.utime(home, (later, later))
    assert f"'{home}' was changed 10 days later" in the(hardware.check_clock(), "clock").reason


# --- home ---


def test_a_home_that_cannot_be_written_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_HOME", "/proc/hub")
    assert the(home_checks.check_home(), "HUB_HOME").level == "error"


def test_a_writable_home_is_a_note_and_is_not_created(home: Path) -> None:
    assert the(home_checks.check_home(), "HUB_HOME").level == "note"
    assert not home.exists()


MOUNTS = """21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 21 0:30 / /home rw - nfs4 server:/home rw
31 30 8:2 / /home/me/with\\040space rw master:2 - xfs /dev/sdb1 rw
"""


@pytest.mark.parametrize(
    ("path", "kind"), [("/var/x", "ext4"), ("/home/me", "nfs4"), ("/home", "nfs4"), ("/homes", "ext4"), ("/home/me/with space/x", "xfs")]
)
def test_the_file_system_of_a_path_is_that_of_its_nearest_mount(path: str, kind: str) -> None:
    assert home_checks.file_system_of(Path(path), MOUNTS) == kind


def test_a_home_on_a_network_file_system_is_a_warning(home: Path, tmp_path: Path) -> None:
    assert list(home_checks.check_network_file_system()) == []
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS + f"40 21 0:40 / {tmp_path.resolve()} rw - nfs4 server:/x rw\n")
    assert "(nfs4)" in the(home_checks.check_network_file_system(mounts), "HUB_HOME").reason


def test_a_damaged_settings_file_is_an_error_that_names_the_key(home: Path) -> None:
    (home / "conf").mkdir(parents=True)
    (home / "conf" / "config.json").write_text('{"instal": {}}')
    found = the(home_checks.check_settings(), "hub config")
    assert "did you mean 'install'?" in found.reason
    assert found.file == str(home / "conf" / "config.json")


def test_folders_among_the_modules_that_are_not_modules_are_reported(home: Path) -> None:
    (home / "modules" / "flat").mkdir(parents=True)
    (home / "modules" / "flat" / "module.py").touch()
    (home / "modules" / "broken" / "1.0.0").mkdir(parents=True)
    found = list(home_checks.check_installed())
    assert [(each.level, each.file) for each in found] == [
        ("warning", str(home / "modules" / "broken" / "1.0.0")),
        ("note", str(home / "modules" / "flat")),
    ]


def test_leftovers_of_a_killed_install_are_reported_and_stay(home: Path) -> None:
    hub("install", MODULES / "shout", home=home)
    assert list(home_checks.check_leftovers()) == []
    half_done = home / "modules" / "shout"
    draft = half_done / ".0.9.0.4711.link"
    draft.symlink_to("nowhere")
    (home / "tmp" / "install-x1").mkdir()
    found = list(home_checks.check_leftovers())
    assert [each.file for each in found] == [str(half_done), str(home / "tmp" / "install-x1")]
    assert {each.level for each in found} == {"warning"}
    assert draft.is_symlink()
    with FileLock(home / "modules" / ".hubserve.lock"):
        assert [each.level for each in home_checks.check_leftovers()] == ["note"], "they are another process's, which runs"


def test_a_killed_servers_file_is_reported_with_the_command_that_removes_it(home: Path) -> None:
    path = home / "conf" / "serving_8123.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"pid": 1, "module": ["shout"], "start_time": 1}')
    found = the(home_checks.check_servers(), "port 8123")
    assert (found.level, found.fix, found.file) == ("warning", f"rm '{path}'", str(path))


def test_a_port_that_another_program_uses_is_reported(home: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        found = the(home_checks.check_default_port(port), f"port {port}")
    assert found.level == "note"
    assert list(home_checks.check_default_port(port)) == []


def test_every_check_is_in_the_table() -> None:
    rooms: Iterable[object] = (software, engines, hardware, home_checks)
    written = {
        value for room in rooms for name, value in vars(room).items() if name.startswith("check_") and value.__module__ == room.__name__
    }
    assert written == set(MACHINE_CHECKS)
