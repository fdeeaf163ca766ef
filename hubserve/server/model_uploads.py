"""Store model files that clients upload. Folders that a killed server left behind are deleted when the next one starts."""

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from hubserve.errors import InvalidInput, LoadFailed, TooLarge
from hubserve.paths import home
from hubserve.protocols.model_control import NotInRepository
from hubserve.registry.version_dirs import DirectoryLock, delete

_MOST_FILES = 1000
_MOST_PARTS = 10
_LONGEST_PART_BYTES = 255


class Uploads:
    """Folders of uploaded models in the home.

    Args:
        most_bytes: the most bytes of one model's files.
    """

    def __init__(self, most_bytes: int) -> None:
        self._folder = home() / "uploaded"
        self._most_bytes = most_bytes
        self._locks: dict[Path, DirectoryLock] = {}
        self.sweep()

    def write(self, files: Mapping[str, bytes]) -> Path:
        """Write files to a new folder. It is kept until :meth:`release`, and then for as long as an instance runs from it.

        Args:
            files: path in the folder -> content.
        Raises:
            InvalidInput: a path leads out of the folder, or two files have the same path.
            TooLarge: there are too many files, or they are too large.
            LoadFailed: they cannot be written.
        """
        paths = {_inside(path): content for path, content in files.items()}
        if len(paths) > _MOST_FILES or sum(map(len, paths.values())) > self._most_bytes:
            raise TooLarge(f"the model's files are over this server's limit of {_MOST_FILES} files with {self._most_bytes} bytes")
        folder = self._folder / secrets.token_hex(8)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            folder.mkdir(mode=0o700)
            self._locks[folder] = DirectoryLock(folder)
            for path, content in paths.items():
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with open(target, "xb") as file:
                    file.write(content)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            self.release(folder)
            raise InvalidInput("two of the model's files have one path, or one lies in another one") from None
        except OSError as error:
            self.release(folder)
            raise LoadFailed(f"the model's files cannot be written to '{self._folder}': {error.strerror}") from None
        return folder

    def release(self, folder: Path) -> None:
        """Delete a folder, now or once no instance runs from it."""
        lock = self._locks.pop(folder, None)
        if lock:
            lock.release()
        self.sweep()

    def sweep(self) -> None:
        """Delete unused folders, of this server and of killed ones."""
        with suppress(OSError):
            for entry in list(os.scandir(self._folder)):
                if Path(entry.path) not in self._locks:
                    delete(Path(entry.path))


def _inside(path: str) -> PurePosixPath:
    """Return a path that stays in its folder.

    Raises:
        InvalidInput: it does not.
    """
    parts = path.split("/")
    fits = len(parts) <= _MOST_PARTS and all(part not in ("", ".", "..") and part.isprintable() and "\\" not in part for part in parts)
    if any(len(part.encode()) > _LONGEST_PART_BYTES for part in parts):
        raise NotInRepository(
            f"failed to poll from model repository: 'file:{path[:80]}...' is not a path in the model's folder: each name in it may have "
            f"{_LONGEST_PART_BYTES} bytes"
        )
    if not fits:
        raise InvalidInput(f"'file:{path[:200]}' is not a path in the model's folder; one is written like file:1/model.onnx")
    return PurePosixPath(path)
