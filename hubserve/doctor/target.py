"""Module to check, with its files and settings."""

import ast
import re
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from hubserve.doctor import sources
from hubserve.kinds import ModuleInfo
from hubserve.registry.manifest import Manifest

#: files with a module's settings, the one that takes precedence first
_SETTINGS_FILES = ("params.py", "module.py")


@dataclass(frozen=True)
class Target:
    """Module to check, and the arguments that a configuration gives it.

    Attributes:
        info: its metadata.
        folder: its files.
        import_name: the package name under which it is imported.
        search_path: folders in which its relative paths are looked up.
        manifest: its manifest; None if it is not installed.
        init_args: arguments of its constructor.
        predict_args: arguments of its serving method.
        origin: the configuration's file; "" without one.
    """

    info: ModuleInfo
    folder: Path
    import_name: str
    search_path: list[Path]
    manifest: Manifest | None = None
    init_args: dict[str, Any] = field(default_factory=dict)
    predict_args: dict[str, Any] = field(default_factory=dict)
    origin: str = ""

    @cached_property
    def trees(self) -> dict[Path, ast.Module]:
        """Parsed Python files of the module."""
        trees = {}
        for path in self.files:
            with suppress(OSError, SyntaxError):  # another check reports it
                trees[path] = sources.parse(path)
        return trees

    @cached_property
    def files(self) -> list[Path]:
        """Python files of the module."""
        return [path for path in sorted(self.folder.rglob("*.py")) if "__pycache__" not in path.parts]

    def settings(self) -> list[sources.Literal]:
        """Return the effective settings: the configuration's over params.py's over module.py's. Line 0 means the configuration."""
        found: dict[str, sources.Literal] = {}
        for name in reversed(_SETTINGS_FILES):
            tree = self.trees.get(self.folder / name)
            if tree is not None:
                found.update({each.key: each for each in sources.literals_of(tree)})
        found.update({key: sources.Literal(key, value, 0) for key, value in self.init_args.items()})
        return list(found.values())

    def about(self, setting: sources.Literal) -> tuple[str, str]:
        """Return a setting's name in a finding, and its file."""
        if not setting.line:
            return f"modules_info.{self.info.name}.init_args.{setting.key}", self.origin
        for name in _SETTINGS_FILES:
            tree = self.trees.get(self.folder / name)
            if tree is not None and setting in sources.literals_of(tree):
                return f"{setting.key} (line {setting.line})", str(self.folder / name)
        return setting.key, str(self.folder)


def line_of(message: str) -> str:
    """Return ``line 7`` if a message names a line; else "module.py"."""
    found = re.search(r"line \d+", message)
    return found.group() if found else "module.py"
