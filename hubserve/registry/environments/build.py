"""Builds an environment in its final place, because one that is moved no longer runs; a marker says that it is not finished."""

import os
import shutil
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

from hubserve.errors import InstallError
from hubserve.registry.environments.environment_record import (
    MARKER_NAME,
    Environment,
    environments_dir,
    read_record,
    used_bytes,
    write_record,
)
from hubserve.registry.environments.interpreters import Python
from hubserve.registry.environments.module_requirements import ProfileSettings
from hubserve.registry.environments.package_lock import Lock
from hubserve.registry.environments.tools.base import Order, Tool
from hubserve.registry.environments.tools.process import ToolFailed, run_tool
from hubserve.registry.lock import store_lock
from hubserve.registry.progress import Progress


def build(
    home: Path,
    lock: Lock,
    python: Python,
    tool: Tool,
    order: Order,
    *,
    timeout_s: float,
    progress: Progress,
    request: str = "",
    base: ProfileSettings | None = None,
) -> tuple[Environment, bool]:
    """Make the environment of a lock, unless it is there.

    Args:
        home: the home.
        lock: what it holds.
        python: what it is made with.
        tool: installs the packages.
        order: the lock's pins, with the places where they are found.
        timeout_s: how long to wait for another process that builds.
        progress: told how far it is.
        request: digest of the requirements that were resolved to the lock, which a new environment remembers.
        base: of the profile that it is made from.
    Returns:
        The environment, and whether it was made now.
    Raises:
        InstallError: it cannot be made; the message says why. Nothing of it is left.
        OSError: likewise; the disk is full, or the home cannot be written.
    """
    folder = environments_dir(home) / lock.key
    with store_lock(environments_dir(home), timeout_s, progress):
        existing = read_record(folder)
        if existing:
            return existing, False
        shutil.rmtree(folder, ignore_errors=True)  # of a build that was killed
        try:
            return _build(folder, lock, python, tool, order, progress, request, base), True
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise


def _build(
    folder: Path, lock: Lock, python: Python, tool: Tool, order: Order, progress: Progress, request: str, base: ProfileSettings | None
) -> Environment:
    folder.mkdir(parents=True)
    (folder / MARKER_NAME).touch()
    command = [python.path, "-m", "venv", "--without-pip", str(folder)]
    attempt(lambda: run_tool(command, {}, folder.parent, progress, f"making an environment with Python {python.version}"), "cannot be made")
    attempt(lambda: tool.install(python, folder, order), "cannot be filled")
    progress("writing to disk")
    made = Environment(
        folder=folder,
        python=python.version,
        base=python.path,
        platform=python.platform,
        pins=lock.pins,
        origin=lock.origin,
        tool=tool.name,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        size_bytes=used_bytes(folder),
        requests=(request,) if request else (),
        profile=base.profile if base else "",
        environ=dict(base.environ) if base else {},
        library_path=base.library_path if base else (),
    )
    write_record(made)
    os.sync()  # thousands of small files: waiting for each of them would take longer than writing them
    (folder / MARKER_NAME).unlink()
    return made


def attempt(
    action: Callable[[], object], what: str, remedy: str = "Correct the cause and try again.", subject: str = "the module's environment"
) -> None:
    """Do something with a tool, and say what failed.

    Args:
        action: uses the tool.
        what: what came to nothing if it fails, such as ``cannot be made``.
        remedy: what to do then.
        subject: whose environment it is.
    Raises:
        InstallError: the tool failed; its reason is in the message, and all that it said in the detail.
    """
    try:
        action()
    except ToolFailed as error:
        raise InstallError(f"{subject} {what}: {str(error).rstrip('.')}. {remedy}", error.output) from None
