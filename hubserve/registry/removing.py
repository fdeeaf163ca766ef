"""Takes versions out of the store: one rename, and then the slow part. Whoever calls holds the store's lock."""

import os
import shutil
import tempfile
from pathlib import Path

from hubserve.registry.contents import sync
from hubserve.registry.recovery import remove_if_empty


def remove_version(version_folder: Path, tmp: Path) -> None:
    """Remove one version, and the name's folder with the last one.

    Raises:
        OSError: the folder cannot be renamed; it is as it was.
    """
    _take_out(version_folder, tmp)
    remove_if_empty(version_folder.parent)


def remove_name(name_folder: Path, tmp: Path) -> None:
    """Remove every version of a module at once.

    Raises:
        OSError: the folder cannot be renamed; it is as it was.
    """
    _take_out(name_folder, tmp)


def _take_out(folder: Path, tmp: Path) -> None:
    tmp.mkdir(parents=True, exist_ok=True)
    bin_folder = Path(tempfile.mkdtemp(prefix="uninstall-", dir=tmp))
    try:
        os.rename(folder, bin_folder / folder.name)
        sync(folder.parent)
    finally:
        # It is out of the store once it is renamed; what cannot be deleted now, the next install deletes.
        shutil.rmtree(bin_folder, ignore_errors=True)
