"""pip, used if uv is not installed: the pip of a helper environment, made once per Python, installs into the others."""

import json
import shutil
from pathlib import Path
from typing import Any

from hubserve.registry.environments.interpreters import Python
from hubserve.registry.environments.tools.base import Order, Tool
from hubserve.registry.environments.tools.package_index import IndexSettings
from hubserve.registry.environments.tools.process import ToolFailed, run_tool
from hubserve.registry.lock import store_lock

#: first version that installs into another environment and reports what it would install
_OLDEST = (22, 3)
_READY = "ready.json"
_LOCK_TIMEOUT_S = 600.0
_QUIET = ["--no-input", "--disable-pip-version-check"]


class Pip(Tool):
    """pip and the standard library's ``venv``."""

    name = "pip"

    @classmethod
    def available(cls) -> bool:
        """See the base class; a Python without venv or pip is reported when it is used."""
        return True

    def resolve(self, python: Python, order: Order) -> list[str]:
        """See the base class."""
        report = self.scratch / "report.json"
        words = ["install", "--dry-run", "--ignore-installed", "--report", str(report), *self.write_files(order)]
        self._run(self.helper(python, order.source), words, order, "resolving packages")
        return [_pin(each) for each in json.loads(report.read_text("utf-8"))["install"]]

    def install(self, python: Python, environment: Path, order: Order) -> None:
        """See the base class."""
        words = ["--python", str(environment / "bin" / "python"), "install", "--no-deps", "--no-warn-script-location"]
        self._run(
            self.helper(python, order.source), [*words, *self.write_files(order)], order, f"installing {len(order.requirements)} packages"
        )

    def wheels(self, python: Python, folder: Path, order: Order) -> None:
        """Put a wheel of each of ``order.requirements`` into a folder; packages without one are built from source.

        Raises:
            ToolFailed: a download or build failed; the message says why.
        """
        words = ["wheel", "--no-deps", "--wheel-dir", str(folder), *self.write_files(order)]
        self._run(self.helper(python, order.source), words, order, f"fetching {len(order.requirements)} packages")

    def helper(self, python: Python, index: IndexSettings) -> Path:
        """Return the interpreter of a Python's helper environment, which has pip; make it if it does not exist.

        Raises:
            ToolFailed: it cannot be made; the message says what to install.
        """
        folder = self.cache / "pip" / f"{python.version}-{python.platform}"
        executable = folder / "bin" / "python"
        with store_lock(folder.parent, _LOCK_TIMEOUT_S, self.progress):
            if not ((folder / _READY).is_file() and executable.exists()):
                self._make_helper(python, folder)
                self._update_pip(folder, executable, index)
                (folder / _READY).write_text("{}", "utf-8")
        return executable

    def _make_helper(self, python: Python, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        try:
            run_tool(
                [python.path, "-m", "venv", str(folder)], {}, self.scratch, self.progress, f"preparing pip for Python {python.version}"
            )
        except ToolFailed as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise ToolFailed(
                f"ERROR: {python.path} has no working venv and pip ({error}). Install uv (pip install uv), or the system's package "
                f"python{python.minor}-venv.",
                error.status,
            ) from None

    def _update_pip(self, folder: Path, executable: Path, index: IndexSettings) -> None:
        """Replace a pip that is too old with one from the index."""
        names = [each.name.split("-")[1] for each in folder.glob("lib/python*/site-packages/pip-*.dist-info")]
        version = tuple(int(part) for part in (names or ["0"])[0].split(".")[:2] if part.isdigit())
        if version < _OLDEST:
            words = ["install", "--upgrade", f"pip>={'.'.join(map(str, _OLDEST))}"]
            self._run(executable, words, Order((), source=index), "updating pip")

    def _run(self, python: Path, words: list[str], order: Order, step: str) -> None:
        environ = {**order.source.pip_environ(), "PIP_REQUIRE_VIRTUALENV": "0", "PIP_USER": "0"}
        run_tool([str(python), "-m", "pip", *_QUIET, *words], environ, self.scratch, self.progress, step)


def _pin(installed: dict[str, Any]) -> str:
    metadata, source = installed["metadata"], installed["download_info"]
    if not installed.get("is_direct"):
        return f"{metadata['name']}=={metadata['version']}"
    vcs = source.get("vcs_info")
    return f"{metadata['name']} @ " + (f"{vcs['vcs']}+{source['url']}@{vcs['commit_id']}" if vcs else str(source["url"]))
