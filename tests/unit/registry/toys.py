"""Small modules and archives for tests."""

import io
import os
import tarfile
from pathlib import Path

from hubserve.registry.history import RECORD_NAME, read_history
from hubserve.registry.installer import Installer

SOURCE = '''"""A module for tests."""

from hubserve.module import moduleinfo, runnable, serving
{extra}

@moduleinfo(name="{name}", version="{version}", summary="For tests")
class Toy:
    @serving
    def say(self, text):
        return text

    @runnable
    def run(self, argv):
        return " ".join(argv)
'''


def write_module(folder: Path, name: str = "toy", version: str = "1.0.0", extra: str = "", **files: str) -> Path:
    """Write a complete module; ``files`` are more files, with ``__`` in a keyword for the dot."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").touch()
    (folder / "module.py").write_text(SOURCE.format(name=name, version=version, extra=extra))
    for key, content in files.items():
        (folder / key.replace("__", ".")).write_text(content)
    return folder


def pack(archive: Path, folder: Path, mode: str, inside: str) -> Path:
    """Write a tar of a folder's files, below the folder ``inside``."""
    with tarfile.open(archive, mode) as tar:
        tar.add(folder, arcname=inside)
    return archive


def tar_of(archive: Path, *members: tuple[tarfile.TarInfo | str, bytes]) -> Path:
    """Write a tar of the given members, however hostile."""
    with tarfile.open(archive, "w") as tar:
        for info, content in members:
            member = tarfile.TarInfo(info) if isinstance(info, str) else info
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive


def tree(folder: Path) -> dict[str, bytes | None]:
    """Return every path below a folder, with the bytes of files; links are not followed."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in folder.rglob("*")
    }


def strays(installer: Installer) -> list[str]:
    """Return what lies in a home's ``modules`` and ``tmp`` without being in a history."""
    found = os.listdir(installer.home / "tmp") if (installer.home / "tmp").exists() else []
    for name_folder in installer.installed.modules.glob("[!.]*"):
        history = read_history(name_folder)
        if history is None:  # an older home of plain folders, some of which may have been adopted
            entries = [*name_folder.iterdir()]
            versions = {each.name for each in entries if each.name[0] != "."}
            directories = {os.readlink(each) for each in entries if each.is_symlink() and each.name in versions}
            found += [each.name for each in entries if each.name not in versions | directories] if versions else [name_folder.name]
            continue
        known = {*history.versions, *history.needed_dirs(), RECORD_NAME}
        found += [each.name for each in name_folder.iterdir() if each.name not in known]
        found += [version for version, directory in history.versions.items() if os.readlink(name_folder / version) != directory]
        if not history.versions:
            found.append(name_folder.name)
    return sorted(found)
