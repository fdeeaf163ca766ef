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
