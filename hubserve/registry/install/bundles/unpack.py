"""Unpacks a bundle, and believes nothing of it that it has not checked."""

import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import InstallError
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.digests import sha256_of
from hubserve.registry.environments.install_options import Options
from hubserve.registry.install.archive import unpack
from hubserve.registry.install.bundles.build import machine
from hubserve.registry.install.bundles.index import NAME, BundledModule, BundleIndex, decode
from hubserve.registry.progress import Progress, silent


class Opened(NamedTuple):
    """An unpacked bundle.

    Attributes:
        contents: what it holds.
        folder: where its members are.
    """

    contents: BundleIndex
    folder: Path

    def archive(self, module: BundledModule) -> Path:
        """A module's archive."""
        return self.folder / module.archive.path

    def options(self, module: BundledModule, said: Options) -> Options:
        """Return the options that a module was installed with, with its wheels; the user's options take precedence."""
        environment = next((each for each in self.contents.environments if each.key == module.environment), None)
        options = said._replace(wheels=self.wheels(module))
        if not (said.profile or said.packages):
            options = options._replace(profile=module.profile, packages=tuple(module.packages))
        if environment and not said.python and not said.profile:  # the wheels are made for it
            options = options._replace(python=".".join(environment.python.split(".")[:2]))
        return options

    def wheels(self, module: BundledModule) -> Path | None:
        """The folder of the wheels of a module's environment; None if it has none of its own."""
        environment = next((each for each in self.contents.environments if each.key == module.environment), None)
        return (self.folder / environment.wheels[0].path).parent if environment and environment.wheels else None


def is_bundle(path: Path) -> bool:
    """Whether a file is a bundle, judged by its first member."""
    try:
        with tarfile.open(path, "r:") as tar:
            first = tar.next()
            return first is not None and first.name == NAME
    except (OSError, tarfile.TarError, ValueError, EOFError):
        return False


@contextmanager
def opened(bundle: Path, tmp: Path, limits: InstallSettings, progress: Progress = silent) -> Iterator[Opened]:
    """Unpack a bundle for the time of the ``with`` block, every member's size and digest checked.

    Args:
        bundle: the file.
        tmp: where it may be unpacked.
        limits: how much may be written.
        progress: told how far it is.
    Raises:
        InstallError: it is damaged, holds more or less than it lists, or was made for another kind of machine.
    """
    tmp.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bundle-", dir=tmp) as scratch:
        folder = Path(scratch)
        unpack(bundle, folder, limits, progress)
        index = decode((folder / NAME).read_bytes(), str(bundle))
        _check(index, folder, bundle, progress)
        yield Opened(index, folder)


def _check(index: BundleIndex, folder: Path, bundle: Path, progress: Progress) -> None:
    listed = {each.path: each for each in index.files()}
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {NAME}
    if present != set(listed):
        odd = sorted(present ^ set(listed))[0]
        raise InstallError(f"'{bundle}' is damaged: '{odd}' is {'not listed' if odd in present else 'missing'}. Fetch or make it again.")
    done_bytes, total_bytes = 0, sum(each.size_bytes for each in listed.values())
    for path, file in listed.items():
        if (folder / path).stat().st_size != file.size_bytes or sha256_of(folder / path) != file.sha256:
            raise InstallError(f"'{bundle}' is damaged: '{path}' is not what was bundled. Fetch or make it again.")
        done_bytes += file.size_bytes
        progress("checking the bundle", done_bytes, total_bytes)
    if index.environments and index.machine != machine():
        raise InstallError(f"'{bundle}' was made for {index.machine}, and this machine is {machine()}. Make one on a machine like this.")
