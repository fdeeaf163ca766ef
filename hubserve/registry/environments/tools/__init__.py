"""Tools that resolve and install packages: one file and one row of :data:`TOOLS` each."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from hubserve.errors import ConfigError
from hubserve.registry.environments.environment_record import environments_dir
from hubserve.registry.environments.tools.base import Tool
from hubserve.registry.progress import Progress

#: name -> "package.module:Class", the preferred one first
TOOLS = {
    "uv": "hubserve.registry.environments.tools.uv:Uv",
    "pip": "hubserve.registry.environments.tools.pip:Pip",
}
CHOICE_VARIABLE = "HUBSERVE_ENVIRONMENT_TOOL"


def tool_class() -> type[Tool]:
    """Return the first of :data:`TOOLS` that is installed, or the one that the environment variable :data:`CHOICE_VARIABLE` names.

    Raises:
        ConfigError: the variable names an unknown tool, or one that is not installed.
    """
    wanted = os.environ.get(CHOICE_VARIABLE, "")
    if wanted and wanted not in TOOLS:
        raise ConfigError(f"{CHOICE_VARIABLE} is '{wanted}', but environments are made with {' or '.join(TOOLS)}. Set it to one of them.")
    for name in [wanted] if wanted else TOOLS:
        module, _, cls = TOOLS[name].partition(":")
        tool: type[Tool] = getattr(import_module(module), cls)
        if tool.available():
            return tool
    raise ConfigError(f"{CHOICE_VARIABLE} asks for '{wanted}', which is not installed. Install it: pip install {wanted}")


@contextmanager
def scratch_tool(home: Path, progress: Progress, cls: Callable[[Path, Path, Progress], Tool] | None = None) -> Iterator[Tool]:
    """Yield a tool with a temporary folder, which is removed at the end."""
    tmp = home / "tmp"
    tmp.mkdir(parents=True, exist_ok=True)
    environments_dir(home).mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="install-environment-", dir=tmp))
    try:
        yield (cls or tool_class())(scratch, home / "cache", progress)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
