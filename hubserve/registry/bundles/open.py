"""Unpack a bundle, and check everything in it."""

import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import InstallError
from hubserve.registry.archives.unpacking import unpack
from hubserve.registry.bundles.bundle_index import NAME, BundledModule, BundleIndex, decode, machine
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.digests import sha256_of
from hubserve.registry.environments.install_options import Options
from hubserve.registry.progress import Progress, silent


class OpenBundle(NamedTuple):
    """An unpacked bundle.

    Attributes:
        contents: its index.
        folder: the folder of its members.
    """

    contents: BundleIndex
    folder: Path

    def archive(self, module: BundledModule) -> Path:
        """Return a module's archive."""
        return self.folder / module.archive.path

    def options(self, module: BundledModule, given: Options) -> Options:
        """Return the options that a module was installed with, with its wheels; the user's options take precedence."""
        environment = next((each for each in self.contents.environments if each.key == module.environment), None)
        options = given._replace(wheels=self.wheels(module))
        if not (given.profile or given.packages):
            options = options._replace(profile=module.profile, packages=tuple(module.packages))
        if environment and not given.python and not given.profile:  # the wheels are built for it
            options = options._replace(python=".".join(environment.python.split(".")[:2]))
        return options

    def wheels(self, module: BundledModule) -> Path | None:
        """Return the folder with the wheels of a module's environment; None if it has no environment of its own."""
        environment = next((each for each in self.contents.environments if each.key == module.environment), None)
        return (self.folder / environment.wheels[0].path).parent if environment and environment.wheels else None


def is_bundle(path: Path) -> bool:
    """Return True if a file is a bundle, judged by its first member."""
    try:
        with tarfile.open(path, "r:") as tar:
            first = tar.next()
            return first is not None and first.name == NAME
    except (OSError, tarfile.TarError, ValueError, EOFError):
        return False


@contextmanager
def open_bundle(bundle: Path, tmp: Path, limits: InstallSettings, progress: Progress = silent) -> Iterator[OpenBundle]:
    """Unpack a bundle for the duration of the ``with`` block, and check the size and digest of every member.

    Args:
        bundle: the file.
        tmp: the folder to unpack below.
        limits: how much may be written.
        progress: called as it proceeds.
    Raises:
        InstallError: it is damaged, its members are not those that it lists, or it was made for another platform.
    """
    tmp.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bundle-", dir=tmp) as scratch:
        folder = Path(scratch)
        unpack(bundle, folder, limits, progress)
        index = decode((folder / NAME).read_bytes(), str(bundle))
        _check(index, folder, bundle, progress)
        yield OpenBundle(index, folder)


def _check(index: BundleIndex, folder: Path, bundle: Path, progress: Progress) -> None:
    listed = {each.path: each for each in index.files()}
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {NAME}
    if present != set(listed):
        path = sorted(present ^ set(listed))[0]
        problem = "not listed" if path in present else "missing"
        raise InstallError(f"'{bundle}' is damaged: '{path}' is {problem}. Fetch it or make it again.")
    done_bytes, total_bytes = 0, sum(each.size_bytes for each in listed.values())
    for path, file in listed.items():
        if (folder / path).stat().st_size != file.size_bytes or sha256_of(folder / path) != file.sha256:
            raise InstallError(f"'{bundle}' is damaged: '{path}' is not what was bundled. Fetch it or make it again.")
        done_bytes += file.size_bytes
        progress("checking the bundle", done_bytes, total_bytes)
    if index.environments and index.machine != machine():
        raise InstallError(f"'{bundle}' was made for {index.machine}, and this machine is {machine()}. Make one on a machine like this.")
