"""Make a bundle of installed modules."""

import io
import json
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hubserve.errors import InstallError
from hubserve.registry.archives.outside_files import find_assets
from hubserve.registry.archives.packing import pack
from hubserve.registry.bundles.bundle_index import (
    NAME,
    SCHEMA_VERSION,
    BundledEnvironment,
    BundledFile,
    BundledModule,
    BundleIndex,
    machine,
)
from hubserve.registry.digests import sha256_of
from hubserve.registry.environments.install_options import PROFILES_FOLDER
from hubserve.registry.file_replacement import replacing
from hubserve.registry.installed import Installed
from hubserve.registry.progress import Progress, silent
from hubserve.registry.recovery import exclusive

SUFFIX = ".bundle.tar"


class Bundle(NamedTuple):
    """A finished bundle.

    Attributes:
        path: the file.
        contents: its index.
        notes: one sentence for each thing that could not be bundled.
    """

    path: Path
    contents: BundleIndex
    notes: list[str]


def make_bundle(home: Path, modules: Sequence[Installed], target: Path, progress: Progress = silent) -> Bundle:
    """Put installed modules, what they read from outside their folders, and the wheels of their environments into one file.

    Args:
        home: the home in which they are installed.
        modules: the modules.
        target: the file; an existing one is replaced once the new one is complete.
        progress: called as it proceeds.
    Raises:
        HubError: something could not be packed or fetched; no file was written.
    """
    target = target.expanduser().absolute()
    if target.is_dir() or not target.parent.is_dir():
        why = "is a folder" if target.is_dir() else "is in a folder that does not exist"
        raise InstallError(f"cannot write '{target}': it {why}. Name another file, or make the folder first.")
    tmp = home / "tmp"
    tmp.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="bundle-", dir=tmp) as scratch:
            notes: list[str] = []
            with exclusive(home, progress):  # keeps them from being removed meanwhile
                bundled = [_pack_module(each, Path(scratch), notes, progress) for each in modules]
                keys = dict.fromkeys(each.environment for each in bundled if each.environment)
                environments = [_fetch_environment(home, key, modules, Path(scratch), progress) for key in keys]
            index = BundleIndex(SCHEMA_VERSION, machine(), bundled, environments, _user_profiles(home, bundled))
            _write(target, index, Path(scratch), progress)
    except OSError as error:
        raise InstallError(f"cannot write '{target}': {error}. Fix the problem and make the bundle again.") from error
    return Bundle(target, index, notes)


def _user_profiles(home: Path, modules: Sequence[BundledModule]) -> dict[str, Any]:
    """Return the user-defined profiles that modules run in, without folders that exist only on this machine."""
    names = {each.profile for each in modules}
    folder = home / PROFILES_FOLDER
    found: dict[str, Any] = {}
    for name in sorted(names):
        if name and (folder / f"{name}.json").is_file():
            document = json.loads((folder / f"{name}.json").read_text("utf-8-sig"))
            lines = document["requirements"]
            found[name] = {**document, "requirements": [each for each in lines if not each.lstrip().startswith(("-f", "--find-links"))]}
    return found


def _pack_module(module: Installed, scratch: Path, notes: list[str], progress: Progress) -> BundledModule:
    info = module.info
    progress(f"packing {info.name} {info.version}")
    source = module.version_dir / module.manifest.source_folder if module.manifest.source_folder else None
    assets = find_assets(module.version_dir, source)
    for path in assets.fixed:
        notes.append(f"{info.name} names '{path}', a path on this machine only; it is not in the bundle")
    if assets.beside:
        notes.append(
            f"{info.name} imports {', '.join(assets.beside)} from beside the folder that it was installed from; that is not in "
            "the bundle, and the other machine needs it on PYTHONPATH"
        )
    path = f"modules/{info.name}-{info.version}.tar.gz"
    (scratch / "modules").mkdir(exist_ok=True)
    pack(module.version_dir, scratch / path, progress, assets=assets)
    chosen = module.manifest.chosen
    profile = chosen.profile or chosen.asked
    return BundledModule(info.name, info.version, _file(scratch, path), module.manifest.environment, profile, list(chosen.packages))


def _fetch_environment(home: Path, key: str, modules: Sequence[Installed], scratch: Path, progress: Progress) -> BundledEnvironment:
    # loaded only where packages are fetched
    from hubserve.registry.environments.requirements import read_requirements
    from hubserve.registry.environments.wheels import download_wheels

    folder = scratch / "wheels" / key
    folder.mkdir(parents=True)
    linked = [read_requirements(each.version_dir, allow_urls=True).links for each in modules if each.manifest.environment == key]
    links = tuple(dict.fromkeys(each for links in linked for each in links))
    portable = download_wheels(home, key, folder, links=links, progress=progress)
    wheels = [_file(scratch, each.relative_to(scratch).as_posix()) for each in sorted(folder.iterdir())]
    return BundledEnvironment(key, portable.python, wheels)


def _file(scratch: Path, path: str) -> BundledFile:
    return BundledFile(path, sha256_of(scratch / path), (scratch / path).stat().st_size)


def _write(target: Path, index: BundleIndex, scratch: Path, progress: Progress) -> None:
    total_bytes, done_bytes = sum(each.size_bytes for each in index.files()), 0
    with replacing(target) as partial, tarfile.open(partial, "w", format=tarfile.PAX_FORMAT) as tar:
        encoded = index.encode()
        tar.addfile(_header(NAME, len(encoded)), io.BytesIO(encoded))
        for each in index.files():
            with (scratch / each.path).open("rb") as source:
                tar.addfile(_header(each.path, each.size_bytes), source)
            done_bytes += each.size_bytes
            progress("writing the bundle", done_bytes, total_bytes)


def _header(name: str, size_bytes: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size, header.mode = size_bytes, 0o644
    return header
