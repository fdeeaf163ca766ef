"""Build an environment in its final folder, because a moved one does not run; a marker shows that it is unfinished."""

import os
import shutil
from datetime import datetime, timezone
from pathlib import Path

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
from hubserve.registry.environments.tools.process import install_errors, run_tool
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
    """Build the environment of a lock unless it exists.

    Args:
        home: the home.
        lock: its content.
        python: the Python to make it with.
        tool: installs the packages.
        order: the lock's pins and their sources.
        timeout_s: how long to wait for another process that builds.
        progress: called with each step.
        request: digest of the requirements that were resolved to the lock; recorded in a new environment.
        base: settings of its profile, if it has one.
    Returns:
        The environment, and whether it was built now.
    Raises:
        InstallError: the build failed; the message says why. No environment remains.
        OSError: the disk is full, or the home cannot be written; likewise.
    """
    folder = environments_dir(home) / lock.key
    with store_lock(environments_dir(home), timeout_s, progress):
        existing = read_record(folder)
        if existing:
            return existing, False
        shutil.rmtree(folder, ignore_errors=True)  # left by a killed build
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
    with install_errors("cannot be made"):
        run_tool(command, {}, folder.parent, progress, f"making an environment with Python {python.version}")
    with install_errors("cannot be filled"):
        tool.install(python, folder, order)
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
    os.sync()  # once for thousands of small files: one fsync each would take longer than writing them
    (folder / MARKER_NAME).unlink()
    return made
