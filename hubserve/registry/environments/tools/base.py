"""The interface of the tools that resolve and install packages."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hubserve.registry.environments.find_links import copy_packages
from hubserve.registry.environments.interpreters import Python
from hubserve.registry.environments.tools.package_index import IndexSettings
from hubserve.registry.progress import Progress


class Order(NamedTuple):
    """Packages that a tool resolves or installs, and their sources.

    Attributes:
        requirements: lines of a requirements file, options included.
        constraints: lines of a constraints file.
        links: folders with packages in addition to ``source``.
        source: settings of the package index.
    """

    requirements: Sequence[str]
    constraints: Sequence[str] = ()
    links: Sequence[Path] = ()
    source: IndexSettings = IndexSettings()


class Tool(ABC):
    """Tool that resolves and installs packages.

    Args:
        scratch: an empty folder for its files; the caller removes it.
        cache: a folder for files that can be recreated.
        progress: called with each step.
    """

    name: str

    def __init__(self, scratch: Path, cache: Path, progress: Progress) -> None:
        self.scratch, self.cache, self.progress = scratch, cache, progress

    @classmethod
    @abstractmethod
    def available(cls) -> bool:
        """Return True if it is installed."""

    @abstractmethod
    def resolve(self, python: Python, order: Order) -> list[str]:
        """Find compatible versions without installing anything.

        Returns:
            ``name==version`` or ``name @ address``, one for each package.
        Raises:
            ToolFailed: no versions are compatible; the message says why.
        """

    @abstractmethod
    def install(self, python: Python, environment: Path, order: Order) -> None:
        """Install exactly ``order.requirements``, without their dependencies.

        Args:
            python: the environment's Python.
            environment: the environment's folder.
            order: pins and their sources.
        Raises:
            ToolFailed: the installation failed; the message says why.
        """

    def write_files(self, order: Order) -> list[str]:
        """Write an order's files and return the options that name them; the tool must run in :attr:`scratch`."""
        links = [f"--find-links {each}" for each in copy_packages(order.links, self.scratch)]
        requirements = self._write("requirements.txt", [*links, *order.requirements])
        if not order.constraints:
            return ["-r", str(requirements)]
        return ["-r", str(requirements), "-c", str(self._write("constraints.txt", order.constraints))]

    def _write(self, name: str, lines: Sequence[str]) -> Path:
        path = self.scratch / name
        path.write_text("\n".join(lines) + "\n", "utf-8")
        return path
