"""uv: resolves and installs in about a second, and links packages from its cache instead of copying them."""

import os
import shutil
from pathlib import Path

from hubserve.registry.environments.interpreters import Python
from hubserve.registry.environments.tools.base import Order, Tool
from hubserve.registry.environments.tools.process import run_tool


class Uv(Tool):
    """uv from ``PATH``, or from the package ``uv`` in hubserve's environment."""

    name = "uv"

    @classmethod
    def available(cls) -> bool:
        """See the base class."""
        return bool(_executable())

    def resolve(self, python: Python, order: Order) -> list[str]:
        """See the base class."""
        lock = self.scratch / "resolved.txt"
        files = self.write_files(order)[1:]  # compile takes the first file without -r
        words = ["compile", *files, "--python", python.path, "--no-header", "--no-annotate", "--output-file", str(lock)]
        self._run(words, order, "resolving packages")
        lines = (line.strip() for line in lock.read_text("utf-8").splitlines())
        return [line for line in lines if line and not line.startswith(("#", "-"))]

    def install(self, python: Python, environment: Path, order: Order) -> None:  # noqa: ARG002 - uv reads the Python from the environment
        """See the base class."""
        words = ["install", "--python", str(environment / "bin" / "python"), "--no-deps", *self.write_files(order)]
        self._run(words, order, f"installing {len(order.requirements)} packages")

    def hashes(self, python: Python, order: Order) -> list[str]:
        """Return the lines of a requirements file that has, for each of an order's pins, the digests of all of its files.

        Raises:
            ToolFailed: the index does not have one of them.
        """
        lock = self.scratch / "digests.txt"
        words = ["compile", *self.write_files(order)[1:], "--python", python.path, "--no-deps", "--generate-hashes"]
        self._run([*words, "--no-header", "--no-annotate", "--output-file", str(lock)], order, "reading the digests of packages")
        return lock.read_text("utf-8").splitlines()

    def _run(self, words: list[str], order: Order, step: str) -> None:
        environ = {
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_PROGRESS": "1",
            **order.source.uv_environ(),
        }
        pre = ["--prerelease", "allow"] if "--pre" in order.requirements else []  # uv ignores it in a file
        run_tool([_executable(), "pip", *words, *pre, *order.source.uv_options()], environ, self.scratch, self.progress, step)


def _executable() -> str:
    found = shutil.which("uv")
    if found:
        return os.path.abspath(found)
    try:
        from uv import find_uv_bin  # type: ignore[import-not-found,unused-ignore]  # an optional package

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        return ""
