"""Checks of the home and its servers."""

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from hubserve.doctor.findings import ERROR, NOTE, WARNING, Finding, from_error
from hubserve.doctor.hardware import nearest_existing
from hubserve.errors import HubError
from hubserve.paths import conf_dir, home, modules_dir, tmp_dir
from hubserve.registry.configuration import load
from hubserve.registry.history import is_draft, read_history
from hubserve.registry.legacy_layout import is_flat
from hubserve.registry.lock import LOCK_NAME
from hubserve.registry.manifest import read_manifest
from hubserve.registry.recovery import links_match, staging_folders
from hubserve.registry.version_dirs import is_link_draft
from hubserve.server import pidfile
from hubserve.settings import DEFAULT_PORT

_NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "lustre", "glusterfs", "afs", "fuse.sshfs", "fuse.s3fs", "fuse.glusterfs")


def check_home() -> Iterator[Finding]:
    """Check that modules can be installed there."""
    folder = nearest_existing(home())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        yield Finding(
            ERROR,
            "HUB_HOME",
            f"it cannot be written: {error.strerror}",
            "Set HUB_HOME to a writable folder, or change the folder's owner or permissions",
            str(home()),
        )
    else:
        yield Finding(NOTE, "HUB_HOME", "modules are stored here" if folder == home() else "modules will be stored here", file=str(home()))


def check_network_file_system(mountinfo: Path = Path("/proc/self/mountinfo")) -> Iterator[Finding]:
    """Check that the home is not on another machine's disk.

    Args:
        mountinfo: Linux's table of mounts.
    """
    kind = file_system_of(nearest_existing(home()).resolve(), mountinfo.read_text("utf-8", "surrogateescape"))
    if kind in _NETWORK:
        yield Finding(
            WARNING,
            "HUB_HOME",
            f"it is on a network file system ({kind}): locks may not work between machines, and models load slowly",
            "Set HUB_HOME to a folder on a local disk",
            str(home()),
        )


def file_system_of(path: Path, mountinfo: str) -> str:
    """Return the type of a path's file system, from Linux's ``mountinfo``."""
    found, longest = "", -1
    for line in mountinfo.splitlines():
        mount, _, source = line.partition(" - ")
        point = Path(mount.split(" ")[4].replace("\\040", " "))
        if path.is_relative_to(point) and len(point.parts) >= longest:  # of two mounts at one path, the later one counts
            found, longest = source.split(" ")[0], len(point.parts)
    return found


def check_settings() -> Iterator[Finding]:
    """Check the file of ``hub config``."""
    try:
        load(home())
    except HubError as error:
        yield from_error(error, "hub config", file=str(conf_dir() / "config.json"))


def check_installed() -> Iterator[Finding]:
    """Check for entries among the modules that are not modules."""
    for name_folder in _folders(modules_dir()):
        if is_flat(name_folder):
            yield Finding(
                NOTE,
                "module",
                "PaddleHub installed it here; hub does not use it",
                f"To use it: hub install {name_folder}",
                str(name_folder),
            )
            continue
        for folder in _folders(name_folder):
            try:
                read_manifest(folder)
            except HubError as error:
                yield from_error(error, "module", file=str(folder), level=WARNING)


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith((".", "__")))


def check_leftovers() -> Iterator[Finding]:
    """Check for leftovers of killed installs and uninstalls."""
    if _is_locked():
        yield Finding(NOTE, "install", "another hub process is installing or removing a module")
        return
    for folder in sorted(modules_dir().glob("*/")):
        if _is_half_done(folder):
            reason = "a change of this module was killed before it finished; the previous version is still in use"
            yield Finding(
                WARNING, "install", reason, "The next command that reads the module completes or undoes the change: hub list", str(folder)
            )
    for folder in sorted(staging_folders(tmp_dir())):
        reason = "a killed install left this folder"
        yield Finding(WARNING, "install", reason, f"The next install or uninstall removes it; or: rm -rf '{folder}'", str(folder))


def _is_half_done(name_folder: Path) -> bool:
    record = read_history(name_folder)
    drafts = any(is_draft(each) or is_link_draft(each) for each in name_folder.iterdir())
    return drafts or (record is not None and not links_match(name_folder, record))


def _is_locked() -> bool:
    lock = modules_dir() / LOCK_NAME
    if not lock.exists():
        return False
    from filelock import FileLock, Timeout

    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True


def check_servers() -> Iterator[Finding]:
    """Check for running servers and for traces of killed ones."""
    for path in sorted(conf_dir().glob("serving_*.json")):
        number = path.stem.partition("_")[2]
        if not number.isdigit():
            continue
        running = pidfile.find(int(number))
        if running:
            yield Finding(NOTE, f"port {number}", f"hub serves {', '.join(running.modules)} there (pid {running.pid})")
        else:
            yield Finding(
                WARNING,
                f"port {number}",
                "no server holds this file's lock: a killed server left it, or a server of an older release is running",
                f"rm '{path}'",
                str(path),
            )


def check_default_port(port: int = DEFAULT_PORT) -> Iterator[Finding]:
    """Check that the default port is free."""
    if port_problem("127.0.0.1", port) and not pidfile.find(port):
        yield Finding(NOTE, f"port {port}", "another program uses the default port of servers", "Choose another: hub serving start -p PORT")


def port_problem(host: str, port: int) -> str:
    """Return why a server cannot listen on an address; "" if it can."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            return os.strerror(error.errno) if error.errno else str(error)
    return ""
