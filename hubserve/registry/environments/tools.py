"""What resolves and installs packages: one file and one row for each tool."""

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import ConfigError
from hubserve.registry.environments.find_links import copy_packages
from hubserve.registry.environments.interpreters import Python
from hubserve.registry.environments.package_index import IndexSettings
from hubserve.registry.progress import Progress

#: name -> "package.module:Class", the preferred one first
TOOLS = {
    "uv": "hubserve.registry.environments.uv:Uv",
    "pip": "hubserve.registry.environments.pip:Pip",
}
CHOICE_VARIABLE = "HUBSERVE_ENVIRONMENT_TOOL"


class Order(NamedTuple):
    """What a tool is to do, and where from.

    Attributes:
        requirements: lines of a requirements file, options included.
        constraints: lines of a constraints file.
        links: folders with packages beside those of ``source``.
        source: where packages come from.
    """

    requirements: Sequence[str]
    constraints: Sequence[str] = ()
    links: Sequence[Path] = ()
    source: IndexSettings = IndexSettings()


class Tool(ABC):
    """One tool.

    Args:
        scratch: an empty folder for its files; whoever makes the tool removes it.
        cache: a folder for what can be made again.
        progress: told how far it is.
    """

    name: str

    def __init__(self, scratch: Path, cache: Path, progress: Progress) -> None:
        self.scratch, self.cache, self.progress = scratch, cache, progress

    @classmethod
    @abstractmethod
    def available(cls) -> bool:
        """Whether this machine has it."""

    @abstractmethod
    def resolve(self, python: Python, order: Order) -> list[str]:
        """Find versions that fit together, and install nothing.

        Returns:
            ``name==version`` or ``name @ address``, one for each package.
        Raises:
            ToolFailed: there are none; the message says why.
        """

    @abstractmethod
    def install(self, python: Python, environment: Path, order: Order) -> None:
        """Install exactly ``order.requirements``, and nothing that they need in turn.

        Args:
            python: what the environment was made with.
            environment: an environment's folder.
            order: pins and where to take them from.
        Raises:
            ToolFailed: it could not; the message says why.
        """

    def write_files(self, order: Order) -> list[str]:
        """Write an order's files, and return the options that name them. The tool is to run in :attr:`scratch`."""
        links = [f"--find-links {each}" for each in copy_packages(order.links, self.scratch)]
        requirements = self._write("requirements.txt", [*links, *order.requirements])
        if not order.constraints:
            return ["-r", str(requirements)]
        return ["-r", str(requirements), "-c", str(self._write("constraints.txt", order.constraints))]

    def _write(self, name: str, lines: Sequence[str]) -> Path:
        path = self.scratch / name
        path.write_text("\n".join(lines) + "\n", "utf-8")
        return path


def tool_class() -> type[Tool]:
    """The first of :data:`TOOLS` that this machine has; the environment variable of :data:`CHOICE_VARIABLE` names another.

    Raises:
        ConfigError: the variable names no tool, or one that is not there.
    """
    wanted = os.environ.get(CHOICE_VARIABLE, "")
    if wanted and wanted not in TOOLS:
        raise ConfigError(f"{CHOICE_VARIABLE} is '{wanted}', and environments are made with {' or '.join(TOOLS)}. Set it to one of them.")
    for name in [wanted] if wanted else TOOLS:
        module, _, cls = TOOLS[name].partition(":")
        tool: type[Tool] = getattr(import_module(module), cls)
        if tool.available():
            return tool
    raise ConfigError(f"{CHOICE_VARIABLE} asks for '{wanted}', which is not on this machine. Install it: pip install {wanted}")
