"""Write an export into a folder, whole or not at all."""

import shutil
import tempfile
from pathlib import Path

from hubserve.errors import ConfigError, HubError
from hubserve.export.base import Written


def check_folder(folder: Path, *, force: bool) -> None:
    """Refuse a folder with files, unless they may be replaced.

    Raises:
        ConfigError: it has files, or is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"'{folder}' is a file. Name a folder for the export.")
    if folder.is_dir() and any(folder.iterdir()) and not force:
        raise ConfigError(f"'{folder}' is not empty. Name another folder, or replace everything in it with --force.")


def write_export(written: Written, folder: Path) -> list[str]:
    """Write the files beside the folder first, then put them in its place.

    Args:
        written: the files.
        folder: the folder; what it holds is replaced.
    Returns:
        Paths of the files below the folder, sorted.
    Raises:
        HubError: a file cannot be written or made; the folder is as it was.
    """
    folder = folder.absolute()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
            new = Path(scratch, "new")
            new.mkdir()
            for copy in written.copies:
                copy(new)
            for name, text in written.texts.items():
                path = new / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, "utf-8")
                path.chmod(0o755 if name in written.executable else 0o644)
            if folder.exists():
                folder.rename(Path(scratch, "old"))
            new.rename(folder)
    except (OSError, shutil.Error) as error:
        raise HubError(f"cannot write the export to '{folder}': {error}. Fix the problem and export again.") from error
    return sorted(each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file())
