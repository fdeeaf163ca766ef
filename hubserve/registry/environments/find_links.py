"""Packages in a module's own folders (``--find-links``).

pip follows the links of every HTML page in such a folder, so it never gets the folder itself: the packages are copied out of it.
"""

import shutil
import zipfile
import zlib
from collections.abc import Sequence
from email import message_from_bytes
from pathlib import Path

from hubserve.errors import InstallError

_SUFFIXES = (".whl", ".tar.gz", ".zip")
_MAX_METADATA_BYTES = 1 << 20


def packages_in(folder: Path) -> list[Path]:
    """Return the packages in a folder, sorted; pages, links and other files are ignored."""
    return sorted(each for each in folder.iterdir() if each.name.endswith(_SUFFIXES) and each.is_file() and not each.is_symlink())


def copy_packages(folders: Sequence[Path], scratch: Path) -> list[str]:
    """Copy the packages of some folders into new folders for a tool.

    Args:
        folders: the module's.
        scratch: parent of the new folders.
    Returns:
        The names of the new folders, one for each, relative to ``scratch``.
    """
    names = []
    for index, folder in enumerate(folders):
        target = scratch / f"packages{index}"
        target.mkdir(exist_ok=True)
        for package in packages_in(folder):
            shutil.copyfile(package, target / package.name)
        names.append(target.name)
    return names


def check_wheels(folder: Path, where: str, *, allow_urls: bool) -> None:
    """Refuse wheels that require packages from an address, unless addresses are allowed: pip would fetch those, too.

    Raises:
        InstallError: a wheel names an address, or cannot be read.
    """
    for wheel in packages_in(folder):
        if wheel.suffix == ".whl" and not allow_urls:
            for needed in _requires(wheel, where):
                if "@" in needed.partition(";")[0]:
                    raise InstallError(
                        f"{where}: '{wheel.name}' requires '{needed[:80]}', and packages come from your own package index, not from "
                        "addresses. If you trust it: hub install --allow-urls"
                    )


def _requires(wheel: Path, where: str) -> list[str]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA") and each.count("/") == 1]
            texts = [archive.open(each).read(_MAX_METADATA_BYTES + 1) for each in names]
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, ValueError, EOFError) as error:
        raise InstallError(f"{where}: '{wheel.name}' is not a readable wheel ({error}). Replace or remove it.") from None
    if any(len(each) > _MAX_METADATA_BYTES for each in texts):
        raise InstallError(f"{where}: the metadata of '{wheel.name}' is over {_MAX_METADATA_BYTES >> 20} MiB. Remove the wheel.")
    return [str(value) for text in texts for value in message_from_bytes(text).get_all("Requires-Dist", [])]
